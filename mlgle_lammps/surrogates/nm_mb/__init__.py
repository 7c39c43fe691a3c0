"""NM-MB (Lyu and Lei, PRL 2023): centres of molecules with a many-body memory, learned from constrained runs."""

NAME = "nm-mb"
