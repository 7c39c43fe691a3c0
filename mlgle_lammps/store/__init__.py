"""What a run keeps on disk: its folder, the journal, one writer and one reader of frames; files are whole or absent."""
