"""Molecules as graphs: who is bonded to whom, their modes and back to beads, random walks, Rouse theory."""
