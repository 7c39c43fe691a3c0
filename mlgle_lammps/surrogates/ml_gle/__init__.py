"""ML-GLE (Cherchi et al., JCP 2024): autoregressive dynamics of the modes, tied to the centre of mass by a GLE."""

NAME = "ml-gle"
