"""The learned model as a record: what learn/ makes and propagate/ runs."""
