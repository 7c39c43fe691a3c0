"""Bad input by the hundred: sound decks, streams and models, their mutations, and the verdict on what a command did.

``python -m fuzz`` in this folder's parent (or ``make fuzz``) does the larger run; tests/test_fuzz.py a selection.
"""
