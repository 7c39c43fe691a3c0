"""D from fewer frames than the first mode lives: melts whose centres move as the ansatz says, of known D.

    python benchmarks/accuracy_long_lived.py --frames 250 500 1600

X(t) = α B(t) + β Σ z_p(t) over even p, as symmetry has it in chains with like ends, the modes Ornstein-Uhlenbeck
processes with the variances and relaxation times of Rouse chains; numbers like those of 100 beads of cis-polybutadiene
(`in.melt100`) at 300 K, where mode 1 lives for some 800 frames and 1600 frames are 1% of the papers' MD.
"""

from __future__ import annotations

import argparse

import numpy as np
from accuracy_scores import score_estimates

from mlgle_lammps import fit_diffusion
from mlgle_lammps.chains.rouse import RouseSource
from mlgle_lammps.records import Float32, Float64, joined

N_CHAINS, N_BEADS, N_MODES = 20, 100, 60
K = 12  # modes that the fit is given
DT = 0.8  # 100 ps
D, BETA_SQ = 0.104, 0.24  # Å²/100 ps
BOND_SQ = 43.3  # Å²
MODE_DIFFUSION = 0.23  # 2 σ_p²/τ_p, Å²/100 ps


def melt(n_frames: int, seed: int) -> tuple[Float64, Float32]:
    """Return centres of mass, (time, chain, 3), and modes, (time, chain, mode, 3), from equilibrium."""
    friction = 1 / (N_BEADS * MODE_DIFFUSION)  # of Rouse chains that have this D, which is that of their modes
    source = RouseSource(N_CHAINS, N_BEADS, N_MODES, n_frames, DT, seed, bond=BOND_SQ**0.5, friction=friction)
    frames = joined(list(source))
    path = frames.com * np.sqrt(D / MODE_DIFFUSION)
    return path + np.sqrt(BETA_SQ) * frames.modes[:, :, 1::2].sum(axis=2), frames.modes[:, :, :K]


def main() -> None:
    """Parse the command line and print a line for each number of frames."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[150, 250, 500, 1600])
    parser.add_argument("--melts", type=int, default=40)
    options = parser.parse_args()
    print("| frames | bias / % | RMSE / % | claims / % | hold |\n|---|---|---|---|---|")
    for n_frames in options.frames:
        fits = (fit_diffusion(*melt(n_frames, seed), DT, n_beads=N_BEADS) for seed in range(options.melts))
        s = score_estimates([fit.D for fit in fits], D, 0.0)
        columns = (f"{100 * a:.1f} ± {100 * b:.1f}" for a, b in ((s.bias, s.bias_se), (s.rmse, s.rmse_se)))
        print(f"| {n_frames} | {' | '.join(columns)} | {100 * s.mean_se:.1f} | {s.held}/{s.n} |", flush=True)


if __name__ == "__main__":
    main()
