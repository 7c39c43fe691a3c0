"""CG-GNN: many molecules, each run for a short while, teach one network to move unseen ones at giant steps (TMLR)."""

NAME = "cg-gnn"
