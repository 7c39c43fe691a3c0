"""What can be asked for: frozen records, checked once where they are made."""
