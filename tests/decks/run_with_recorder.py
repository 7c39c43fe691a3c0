"""The run command with a recorder in place of the learning: it keeps the frames and says how the stream ended."""

import json
import os
import sys
import time
import types


def learn(source, options, folder, variables=None):
    """Take all frames, hand off where the options say, and leave ending.json and modes.h5."""
    wanted = options.handoff_frames or int(os.environ.get("HAND_OFF_AT", "20"))
    n_frames = 0
    for frame in source:
        n_frames += 1
        if os.environ.get("LEARN_RAISES") and n_frames == 3:
            raise ValueError("the learner broke")
        time.sleep(float(os.environ.get("LEARN_SLOWLY", "0")))
        assert frame.modes.shape[2] == source.system.n_modes
        if n_frames == wanted:
            source.hand_off()
    ending = source.ending()
    folder.assemble_modes(ending)
    if ending.status == "complete":
        folder.discard_checkpoints()
    kept = {"n_frames": n_frames, "broken": source.broken(), "notes": source.system.notes, "dt": source.system.dt}
    kept["ending_notes"] = ending.notes
    kept |= {name: getattr(ending, name) for name in ("status", "message", "step", "waits", "warnings")}
    kept |= {"md_s": ending.md_s, "callback_s": ending.callback_s}
    (folder.path / "ending.json").write_text(json.dumps(kept))
    return 0


stand_in = types.ModuleType("mlgle_lammps.pipeline.learning")
vars(stand_in)["learn"] = learn
sys.modules["mlgle_lammps.pipeline.learning"] = stand_in

from mlgle_lammps.commands.run import main  # noqa: E402

if most := os.environ.get("MOST_BYTES"):  # a file may have
    import resource

    from mpi4py import MPI

    MPI.COMM_WORLD.Barrier()  # MPI's shared memory is a file too
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(most), resource.RLIM_INFINITY))

sys.exit(main())
