"""Decks whose commands are not just executed one by one; tiny, each with the files that it needs.

Every deck prints what it does and runs a few steps. ``MARKED`` ones have a marker, which is a comment to plain LAMMPS.
"""

from __future__ import annotations

import numpy as np

N_CHAINS, N_BEADS, BOX = 4, 4, 12.0

HEAD = """\
units lj
atom_style bond
read_data few.data
pair_style soft 1.0
pair_coeff * * 5.0
special_bonds lj 0 1 1
neighbor 0.5 bin
bond_style harmonic
bond_coeff 1 50.0 0.9
comm_modify cutoff 4.0
timestep 0.005
velocity all create 1.0 4711
fix 1 all nve
fix 2 all langevin 1.0 1.0 0.5 99
thermo 5
"""


def data_file() -> str:
    """Return a data file of a few chains, with image flags."""
    random = np.random.default_rng(7)
    steps = random.normal(scale=0.5, size=(N_CHAINS, N_BEADS, 3))
    steps[:, 0] = random.uniform(0, BOX, (N_CHAINS, 3))
    beads = np.cumsum(steps, axis=1).reshape(-1, 3)
    images = np.floor(beads / BOX).astype(int)
    beads -= images * BOX
    n = len(beads)
    bonds = [(i, i + 1) for i in range(1, n) if i % N_BEADS]
    rows = [f"{i + 1} {i // N_BEADS + 1} 1 {' '.join(f'{v:.6f}' for v in x)} {' '.join(map(str, m))}"
            for i, (x, m) in enumerate(zip(beads, images, strict=True))]  # fmt: skip
    return "\n".join([
        "chains", "", f"{n} atoms", f"{len(bonds)} bonds", "1 atom types", "1 bond types", "",
        f"0 {BOX} xlo xhi", f"0 {BOX} ylo yhi", f"0 {BOX} zlo zhi", "", "Masses", "", "1 1.0", "",
        "Atoms # bond", "", *rows, "", "Bonds", "", *(f"{k + 1} 1 {a} {b}" for k, (a, b) in enumerate(bonds)), "",
    ])  # fmt: skip


STAGE = 'run 5\nprint "stage, cycle $k, step $(step)"\nnext k\njump stage.lmp\nprint "stages done"\n'

DECKS: dict[str, str] = {
    "plain": 'run 10\nprint "at $(step), T $(temp)"\n',
    "label_next_self": (
        'variable k loop 3\nlabel again\nrun 5\nprint "cycle $k"\nnext k\njump SELF again\n'
        'print "done"\n'
    ),
    "by_own_name": (
        'variable k loop 3\nlabel again\nrun 5\nprint "cycle $k"\nnext k\njump in.deck again\n'
        'print "done"\n'
    ),
    "by_own_name_in_a_variable": (
        'variable me index in.deck\nvariable k loop 2\nlabel again\nrun 5\nprint "$k"\nnext k\njump ${me} again\n'
    ),
    "by_own_name_with_a_folder": 'variable k loop 2\nlabel again\nrun 5\nnext k\njump ./in.deck again\nprint "done"\n',
    "nested_loops": (
        "variable i loop 2\nlabel outer\nvariable j loop 3\nlabel inner\nrun 2\nprint '$i $j'\nnext j\n"
        "jump SELF inner\nvariable j delete\nnext i\njump SELF outer\n"
    ),
    "loop_with_bounds": 'variable k loop 3 5 pad\nlabel a\nrun 2\nprint "k is $k"\nnext k\njump SELF a\n',
    "index_loop": (
        'variable t index 0.9 1.1 1.3\nlabel a\nvelocity all scale $t\nrun 3\nnext t\njump SELF a\n'
        'print "x"\n'
    ),
    "two_variables_in_step": (
        'variable a index 1 2 3\nvariable b index x y z\nlabel l\nprint "$a $b"\nrun 2\nnext a b\njump SELF l\n'
    ),
    "file_variable": 'variable f file words.txt\nlabel a\nprint "word $f"\nrun 2\nnext f\njump SELF a\nprint "end"\n',
    "file_skip_forward": 'jump SELF later\nprint "never"\nrun 100\nlabel later\nprint "later"\nrun 3\n',
    "self_without_label": (
        'if "$(is_defined(variable,once))" then "jump SELF more"\nvariable once index 1\ninclude head.lmp\nrun 2\n'
        "print 'again from the top'\njump SELF\nlabel more\nprint 'more'\nrun 2\n"
    ),
    "other_file": "variable k loop 3\njump stage.lmp\nprint 'never reached'\n",
    "other_file_from_a_variable": "variable where index stage.lmp\nvariable k loop 3\njump ${where}\n",
    "other_file_with_label": 'variable k loop 2\njump stage2.lmp there\nprint "never"\n',
    "there_and_back": 'print "going"\njump there.lmp\nlabel back\nprint "back"\nrun 3\n',
    "chain_of_files": 'variable n loop 3\nprint "one"\njump a.lmp\n',
    "include_with_a_loop": 'include loop.lmp\nprint "after"\nrun 2\n',
    "include_in_a_loop": 'variable k loop 2\nlabel a\ninclude body.lmp\nnext k\njump SELF a\nprint "end"\n',
    "include_that_jumps_to_a_file": 'variable k loop 3\ninclude toStage.lmp\nprint "after the include"\nrun 2\n',
    "include_that_jumps_ahead": 'include ahead.lmp\nprint "on"\nrun 2\n',
    "include_in_an_include": 'include outer.lmp\nprint "all included"\nrun 2\n',
    "if_then_jump": (
        'variable n equal 0\nlabel a\nrun 4\nif "$(step) < 12" then "jump SELF a"\nprint "stopped at $(step)"\n'
    ),
    "if_else_jump": (
        'variable k loop 4\nlabel a\nif "$k < 3" then "jump SELF low" else "jump SELF high"\n'
        'label low\nprint "low $k"\n'
        'jump SELF next\nlabel high\nprint "high $k"\nrun 1\nlabel next\nnext k\njump SELF a\n'
    ),
    "if_elif": (
        'variable k index a b c\nlabel t\nif "$k == a" then "print first" elif "$k == b" "print second" "run 2" else '
        '"print other" "run 3"\nnext k\njump SELF t\n'
    ),
    "if_by_own_name": 'label a\nrun 4\nif "$(step) < 9" then "print more" "jump in.deck a"\nprint "done at $(step)"\n',
    "break_out": (
        'variable k loop 10\nlabel a\nrun 3\nif "$k == 3" then "jump SELF break"\nnext k\njump SELF a\nlabel break\n'
        'variable k delete\nprint "broken out at $(step)"\n'
    ),
    "if_include": 'if "$(step) == 0" then "include body.lmp" "print both"\nrun 2\n',
    "nested_if": (
        'variable a equal 2\nif "${a} > 1" then """if "${a} > 5" then "print large" else "print small" "run 2" """\n'
    ),
    "if_is_defined": 'if "$(is_defined(variable,nothing)) == 0" then "variable nothing index 5"\nprint "${nothing}"\n',
    "continued_lines": 'print &\n  "one &\n two"\nvariable x equal &\n  1+ & \n  2\nprint "x is $x"\nrun &\n 4\n',
    "triple_quotes": 'print """first "line"\nlabel no\n# no comment\nlast"""\nrun 2\n',
    "comments": '# run 50\nrun 2 # jump SELF\nprint "a # b" # c\n   \t\nprint \'it is "so"\'\n',
    "windows_line_ends": 'variable k loop 2\r\nlabel a\r\nrun 2\r\nprint "k $k"\r\nnext k\r\njump SELF a\r\n',
    "no_last_line_end": 'variable k loop 2\nlabel a\nrun 2\nprint "k $k"\nnext k\njump SELF a',
    "print_to_files": (
        'variable k loop 2\nlabel a\nrun 2\nprint "k $k" append said.txt\nnext k\njump SELF a\n'
        'shell cat said.txt\n'
    ),
    "print_formats": 'variable p equal press\nrun 2\nprint "p ${p} $(v_p:%.3f) $(step*2:%.1f)" universe no\n',
    "fix_print": 'variable t equal temp\nfix p all print 2 "T ${t}" screen no\nrun 6\nunfix p\n',
    "run_every": 'variable s equal step\nrun 9 every 3 "print \'every ${s}\'"\nrun 6 pre no post no\n',
    "run_upto": "run 4 upto\nrun 9 upto start 0 stop 20\nrun 3\n",
    "shell_echo": 'shell echo said by the shell\nshell mkdir made\nshell "echo x > made/f"\nshell cat made/f\nrun 2\n',
    "shell_cd": (
        "shell mkdir deep\nshell cd deep\nrun 2\nprint 'in deep' append here.txt\nshell cat here.txt\n"
        "shell cd ..\n"
    ),
    "shell_cd_and_jump": (
        'variable k loop 2\nlabel a\nshell mkdir d$k\nshell cd d$k\nrun 2\nprint "$k" append f\n'
        'shell cat f\nshell cd ..\n'
        "next k\njump SELF a\n"
    ),
    "shell_putenv": 'shell putenv WHO=me\nvariable w getenv WHO\nprint "w is $w"\nrun 2\n',
    "variables": (
        'variable a equal 3\nvariable b equal v_a*2\nvariable c string text\n'
        'variable d format b %5.1f\nvariable a equal 4\n'
        'print "$a $b $c $d"\nvariable u uloop 2\nprint "$u"\nrun 2\n'
    ),
    "variable_by_name": (
        'variable n index one two\nlabel l\nvariable v_$n equal 5\nprint "${v_one}"\nrun 1\nnext n\n'
        'jump SELF l\n'
    ),
    "given_on_the_command_line": 'variable given index 1\nprint "given ${given}"\nrun ${given}\n',
    "unfix_and_fix": (
        "variable k loop 2\nlabel a\nunfix 2\nfix 2 all langevin 1.$k 1.$k 0.5 10$k\nrun 4\nnext k\njump SELF a\n"
    ),
    "thermo_style": (
        "thermo_style custom step temp epair ebond pxx\nthermo_modify format float %20.15g\nthermo 2\n"
        "run 6\n"
    ),
    "loop_over_dumps": (
        "variable k loop 2\nlabel a\ndump d all custom 2 d.$k.txt id x\nrun 4\nundump d\nnext k\n"
        "jump SELF a\n"
    ),
    "minimize": 'minimize 0 1e-8 5 20\nreset_timestep 0\nrun 3\nprint "$(pe)"\n',
    "fix_halt": (
        'variable n equal step\nfix h all halt 1 v_n > 3 error continue\nrun 20\n'
        'print "halted at $(step)"\nunfix h\nrun 2\n'
    ),
    "clear_and_again": "run 2\nclear\ninclude head.lmp\nrun 3\nprint 'twice'\n",
    "rerun_from_the_top_by_own_name": (
        'if "$(is_defined(variable,once))" then "jump SELF end"\nvariable once index 1\ninclude head.lmp\nrun 2\n'
        "clear\nprint 'again'\njump in.deck\nlabel end\ninclude head.lmp\nrun 1\n"
    ),
    "log_elsewhere": "run 1\nlog other.txt\nprint 'there'\nlog none\nrun 1\n",
    "label_twice": (
        'variable k loop 2\nlabel a\nprint "first $k"\nrun 1\nnext k\njump SELF a\nvariable k delete\n'
        'print "on"\n'
    ),
    "jump_skipped_after_next": "variable k loop 1\nnext k\njump nowhere.lmp\nprint 'skipped'\nrun 2\n",
}  # fmt: skip

MARKED: dict[str, str] = {
    "marker": "run 4\n#mlgle production\nrun 6\nprint 'end $(step)'\n",
    "marker_after_a_loop": (
        "variable k loop 2\nlabel a\nrun 2\nprint '$k'\nnext k\njump SELF a\n#mlgle production\nrun 6\n"
        ""
    ),
    "marker_before_a_loop": (
        "run 2\n#mlgle production\nvariable k loop 3\nlabel a\nrun 2\nprint 'k $k'\nnext k\njump SELF a\nprint 'end'\n"
    ),
    "marker_between_loops_of_one_label": (
        "variable k loop 2\nlabel a\nrun 2\nprint 'k $k'\nnext k\njump SELF a\n#mlgle production\n"
        "variable j loop 2\nlabel b\nrun 3\nprint 'j $j'\nnext j\njump SELF b\n"
    ),
    "marker_in_a_loop": (
        "variable k loop 3\nlabel a\nprint 'above $k'\nrun 2\n#mlgle production\nrun 3\nprint 'below $k'\nnext k\n"
        "jump SELF a\nprint 'end'\n"
    ),
    "marker_in_a_loop_by_own_name": (
        "variable k loop 3\nlabel a\nprint 'above $k'\nrun 2\n#mlgle production\nrun 3\nprint 'below $k'\nnext k\n"
        "jump in.deck a\nprint 'end'\n"
    ),
    "own_name_above_the_marker": (
        "variable k loop 3\nlabel a\nrun 2\nprint '$k'\nnext k\njump in.deck a\n#mlgle production\nrun 5\n"
    ),
    "own_name_in_an_if_above_the_marker": (
        'label a\nrun 3\nif "$(step) < 8" then "print more" "jump in.deck a"\n#mlgle production\nrun 5\n'
    ),
    "if_across_the_marker": (
        "label a\nrun 2\n#mlgle production\nrun 2\nif \"$(step) < 12\" then 'jump SELF a'\nprint 'at $(step)'\n"
    ),
    "marker_and_include_with_a_loop": "include loop.lmp\n#mlgle production\ninclude loop.lmp\nrun 2\n",
    "marker_and_other_file": "run 2\n#mlgle production\nvariable k loop 3\njump stage.lmp\n",
    "marker_and_there_and_back": (
        'run 2\n#mlgle production\nprint "going"\njump there.lmp\nlabel back\nprint "back"\nrun 3\n'
        ''
    ),
    "marker_and_triple_quotes": (
        'print """\n#mlgle production\n"""\nrun 2\n#mlgle production\nprint """a\nb"""\nrun 3\n'
        ''
    ),
    "marker_and_break": (
        "run 1\n#mlgle production\nvariable k loop 9\nlabel a\nrun 2\nif \"$k == 3\" then 'jump SELF out'\nnext k\n"
        "jump SELF a\nlabel out\nprint 'out at $(step)'\nrun 1\n"
    ),
    "marker_and_shell_cd": (
        "shell mkdir p\nshell cd p\nrun 2\n#mlgle production\nrun 3\nprint 'x' append f\nshell cat f\n"
        "shell cd ..\n"
    ),
    "marker_and_long_head": (
        "variable k loop 2\nlabel a\n" + "# filler\n" * 3000 + "run 2\n#mlgle production\nrun 2\nnext k\njump SELF a\n"
    ),
    "respa_before_production": (
        "run_style respa 2 2 bond 1 pair 2\nrun 4\nrun_style verlet\n#mlgle production\nrun 4\n"
    ),
}  # fmt: skip

OTHERS = {
    "head.lmp": HEAD,
    "few.data": data_file(),
    "words.txt": "alpha\nbeta\ngamma\n",
    "stage.lmp": STAGE,
    "stage2.lmp": 'print "top, not wanted"\nlabel there\nrun 3\nprint "there $k"\nnext k\njump SELF there\n',
    "there.lmp": 'run 4\nprint "there"\njump in.deck back\nprint "never"\n',
    "a.lmp": 'print "a $n"\nrun 2\njump b.lmp\n',
    "b.lmp": 'print "b $n"\nnext n\njump a.lmp\nprint "b ends"\n',
    "loop.lmp": 'variable j loop 3\nlabel inner\nrun 2\nprint "inner $j"\nnext j\njump SELF inner\nprint "included"\n',
    "body.lmp": 'run 2\nprint "body at $(step)"\n',
    "toStage.lmp": 'print "to the stages"\njump stage.lmp\nprint "never"\n',
    "ahead.lmp": 'jump SELF end\nprint "never"\nlabel end\nprint "ahead"\n',
    "outer.lmp": "print 'outer'\ninclude loop.lmp\nprint 'outer ends'\n",
}


def write_deck(folder, name: str) -> None:
    """Write a deck as ``in.deck``, and the files that decks need, into a folder."""
    for other, text in OTHERS.items():
        (folder / other).write_text(text)
    body = (DECKS | MARKED)[name]
    head = "" if body.startswith("if ") and "include head.lmp" in body else "include head.lmp\n"
    text = f"echo none\n{head}{body}"
    (folder / "in.deck").write_text(text, newline="")
