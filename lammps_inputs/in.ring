# Kremer-Grest melt of 40 rings of 25 beads; density 0.85, kT = 1, time step 0.01 tau.
#
#     python -m mlgle_lammps.run lammps_inputs/in.ring --every 200
#
# A ring's modes come in pairs that are alike (cosine and sine).
# ring.data is equilibrated; the short run here only settles the new velocities. It was made by
#
#     python -m mlgle_lammps.build --units lj --ring 25 --chains 40 --seed 6 ring.start
#
# pushoff.lmp as README.md has it for kg.data, and 300000 steps of this deck.

variable seed index 1
variable relax index 20000
variable steps index 1000000            # production; the service stops it at the hand-off
variable deckdir index lammps_inputs    # the folder of this deck; the service sets it
variable data index ${deckdir}/ring.data

include ${deckdir}/kremer-grest.lmp
run ${relax}
reset_timestep 0

#mlgle production
# From here on the service takes frames.

run ${steps}
