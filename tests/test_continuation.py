"""The deck that goes on from a restart file, as text."""

from pathlib import Path

import pytest

from mlgle_lammps.acquire.continuation import alternates_restarts, continued, shifted
from mlgle_lammps.acquire.deck import read_deck
from mlgle_lammps.errors import UserError

HEAD = "units lj\nread_data x.data\n"


def goes_on(folder, text, variables=(), epoch=1):
    path = folder / "in.deck"
    path.write_text(text)
    return continued(read_deck(path, variables), Path("md-7.restart"), begin=5, epoch=epoch)


def before(folder, text, **options):
    return goes_on(folder, HEAD + text, **options).deck.before.splitlines()[2:]


def test_what_built_the_system_gives_way_to_the_restart_file(tmp_path):
    deck = goes_on(tmp_path, "units lj\ncreate_box 1 box\ncreate_atoms 1 box\nread_data y.data add append\n").deck
    assert deck.before == 'units lj\nread_restart "md-7.restart"\n'
    assert deck.production is None


@pytest.mark.parametrize(
    "line",
    ["run 100", "minimize 0 0 1 1", "velocity all create 1 1", "set type 1 charge 0", "reset_timestep 0",
     "group core type 1", "write_data x.data", "shell rm x", "displace_atoms all move 1 1 1",
     "print 'x' file out.txt"],
)  # fmt: skip
def test_what_has_happened_is_not_done_again(tmp_path, line):
    assert before(tmp_path, f"{line}\nfix 1 all nve\n") == ["fix 1 all nve"]


@pytest.mark.parametrize("line", ["group g dynamic all every 10", "print 'x'", "pair_coeff 1 1 1.0", "shell cd there",
                                  "thermo_style custom step temp", "compute 1 all temp", "variable x equal $(2*3)",
                                  'fix p all print 10 "at $(step)"', "dump d all custom 5 a.*.dump id x"])  # fmt: skip
def test_what_defines_is_said_again_as_it_is(tmp_path, line):
    assert before(tmp_path, f"{line}\n") == [line]


@pytest.mark.parametrize(
    ("line", "again"),
    [
        ("fix 1 all langevin 1.0 1.0 0.5 99", "fix 1 all langevin 1.0 1.0 0.5 101"),
        ("fix 1 all langevin/kk 1 1 1 99 zero yes", "fix 1 all langevin/kk 1 1 1 101 zero yes"),
        ("fix 1 all brownian 1.0 ${seed} gamma_t 1.0", "fix 1 all brownian 1.0 $(v_seed+2) gamma_t 1.0"),
        ("pair_style dpd/tstat 1.0 1.0 1.2 5", "pair_style dpd/tstat 1.0 1.0 1.2 7"),
        ("pair_style dpd 1.0 1.2 5", "pair_style dpd 1.0 1.2 7"),
        (
            "pair_style hybrid/overlay table linear 9 dpd/tstat ${T} ${T} 10.0 $s",
            "pair_style hybrid/overlay table linear 9 dpd/tstat ${T} ${T} 10.0 $(v_s+2)",
        ),
        ("fix a all ave/time 1 2 2 c_1 file out.txt", "fix a all ave/time 1 2 2 c_1 append out.txt"),
        ("log mine.log", "log mine.log append"),
        ("dump d all dcd 5 a.dcd", "dump d all dcd 5 a.part3.dcd"),
    ],
)
def test_noise_is_new_and_no_file_is_overwritten(tmp_path, line, again):
    assert before(tmp_path, f"{line}\n", epoch=2) == [again]


def test_a_style_above_the_system_gets_its_new_seed_back_after_the_restart_file(tmp_path):
    """``read_restart`` makes the pair style anew from the file, its seed too."""
    style, coefficients = "pair_style dpd/tstat 1 1 1.1 12346", "pair_coeff * * 1 1"
    text = f"units lj\npair_style dpd/tstat 1 1 1.1 12345\nread_data x.data\n{coefficients}\npair_coeff 1 1 2 1\n"
    lines = goes_on(tmp_path, text).deck.before.splitlines()
    assert lines[1:] == [style, 'read_restart "md-7.restart"', style, coefficients, "pair_coeff 1 1 2 1"]
    below = f"units lj\nread_data x.data\npair_style dpd/tstat 1 1 1.1 12345\n{coefficients}\n"
    assert goes_on(tmp_path, below).deck.before.splitlines()[2:] == [style, coefficients]
    plain = f"units lj\npair_style lj/cut 2.5\nread_data x.data\n{coefficients}\n"
    assert goes_on(tmp_path, plain).deck.before.count("pair_style") == 1


def test_a_text_dump_is_appended_to(tmp_path):
    lines = before(tmp_path, "dump d all custom 5 a.dump id x\n")
    assert lines == ["dump d all custom 5 a.dump id x", "dump_modify d append yes"]


def test_a_line_without_a_word_is_passed_over(tmp_path):
    assert before(tmp_path, "'\nfix 1 all nve\n") == ["fix 1 all nve"]


def test_conditions_and_includes_are_followed(tmp_path):
    (tmp_path / "more.lmp").write_text("pair_style dpd 1.0 1.2 ${seed}\nrun 10\n")
    text = (
        f'variable where index {tmp_path}\ninclude ${{where}}/more.lmp\nif "$x > 1" then "run 5" else "fix 1 all nve"\n'
    )
    assert before(tmp_path, text)[1:] == [
        "pair_style dpd 1.0 1.2 $(v_seed+1)",
        'if "$x > 1" then "variable mlgle_nothing index 1" else "fix 1 all nve"',
    ]


def test_runs_of_the_production_go_by_the_clock(tmp_path):
    deck = goes_on(tmp_path, HEAD + "#mlgle production\nrun ${n}\nvelocity all scale 1.0\nrun 100 upto post no\n").deck
    assert deck.before.splitlines()[-1] == "variable mlgle_clock equal 5"
    assert deck.production.splitlines() == [
        "variable mlgle_stop equal ${mlgle_clock}+(${n})",
        'if "${mlgle_stop} > $(step)" then "run ${mlgle_stop} upto start ${mlgle_clock} stop ${mlgle_stop}"',
        "variable mlgle_clock equal ${mlgle_stop}",
        'if "${mlgle_clock} >= $(step)" then "velocity all scale 1.0"',
        "variable mlgle_stop equal (100)",
        'if "${mlgle_stop} > $(step)" then "run ${mlgle_stop} upto start ${mlgle_clock} stop ${mlgle_stop} post no"',
        "variable mlgle_clock equal ${mlgle_stop}",
    ]


@pytest.mark.parametrize(
    ("text", "exact", "bitwise"),
    [
        ("fix 1 all nvt temp 1 1 1\n", True, False),
        ("atom_modify sort 0 0.0\nfix 1 all nvt temp 1 1 1\n", True, False),
        ("atom_modify sort 0 0.0\nfix 1 all nve\nfix 2 all temp/berendsen 1 1 1\n", True, True),
        ("fix 1 all nve\nfix 2 all langevin 1 1 1 5\n", False, False),
        ("pair_style hybrid/overlay lj/cut 2.5 dpd/tstat 1 1 1 5\nfix 1 all nve\n", False, False),
        ("fix 1 all ${style} temp 1 1 1\n", False, False),
        ("include ${nowhere}/x.lmp\nfix 1 all nve\n", False, False),
    ],
)
def test_only_what_is_known_to_be_exact_counts_as_exact(tmp_path, text, exact, bitwise):
    continuation = goes_on(tmp_path, HEAD + text)
    assert (continuation.exact, continuation.bitwise) == (exact, bitwise)


@pytest.mark.parametrize(("text", "complaint"), [("units lj\n", "no read_data"), (HEAD + "jump other.lmp\n", "jumps")])
def test_decks_that_cannot_go_on_are_named(tmp_path, text, complaint):
    with pytest.raises(UserError, match=complaint):
        goes_on(tmp_path, text)


def test_seeds_as_decks_write_them():
    assert [shifted(seed, 3) for seed in ("4", "${a}", "$b", "$(v_c*2)", "x")] == [
        "7", "$(v_a+3)", "$(v_b+3)", "$((v_c*2)+3)", "x",
    ]  # fmt: skip


def test_restart_files_of_the_deck_itself_are_seen(tmp_path):
    for line, expected in (("restart 100 a b", True), ("restart 100 a.*", False), ("# restart 100 a b", False)):
        path = tmp_path / "in.deck"
        path.write_text(HEAD + line + "\n")
        assert alternates_restarts(read_deck(path)) == expected


@pytest.mark.parametrize(
    ("line", "again"),
    [
        ("fix a all ave/time 1 2 2 c_1 file o.txt ave running overwrite", None),
        ("fix a all ave/histo 1 2 2 0 1 9 vx file o.txt overwrite ave running", None),
        ("fix a all ave/correlate 1 2 2 c_1 file o.txt overwrite ave running", None),
        ("fix a all ave/correlate 1 2 2 c_1 file o.txt", "fix a all ave/correlate 1 2 2 c_1 file o.part2.txt"),
        ("fix a all ave/correlate/long 1 2 c_1 file o", "fix a all ave/correlate/long 1 2 c_1 file o.part2"),
        ("fix a all ave/chunk 1 2 2 c vx file o.txt", "fix a all ave/chunk 1 2 2 c vx append o.txt"),
        ("fix p all print 10 'x' file o.txt", "fix p all print 10 'x' append o.txt"),
    ],
)
def test_what_overwrites_its_file_goes_on_overwriting(tmp_path, line, again):
    """And what cannot append begins another file: LAMMPS refuses `append` there."""
    assert before(tmp_path, f"{line}\n") == [again or line]


def test_prints_of_what_a_restart_does_not_know_are_not_said_again(tmp_path):
    assert before(tmp_path, "print 'T $(temp)'\nprint 'x'\n") == ["print 'x'"]
    deck = goes_on(tmp_path, HEAD + "#mlgle production\nprint 'T $(temp)'\n").deck
    assert deck.production == 'if "${mlgle_clock} >= $(step)" then "print \'T $(temp)\'"\n'


def test_a_condition_keeps_the_quotes_at_its_end(tmp_path):
    text = 'if "$x > 1" then """print "so" """ else "fix 1 all nve"\n'
    assert before(tmp_path, text) == ['if "$x > 1" then """print "so" """ else "fix 1 all nve"']


def test_files_that_a_deck_jumps_to_are_rewritten_too(tmp_path):
    (tmp_path / "stage.lmp").write_text("run 10\nfix l all langevin 1 1 1 5\nnext k\njump ${where}/stage.lmp\n")
    where = f"variable where index {tmp_path}\n"
    deck = goes_on(tmp_path, f"{where}{HEAD}#mlgle production\njump ${{where}}/stage.lmp\n").deck
    assert deck.production == 'jump "deck.1.lmp"\n'
    ((name, text),) = deck.other_files
    assert name == "deck.1.lmp"
    assert "fix l all langevin 1 1 1 6" in text.splitlines()
    assert text.splitlines()[0] == "variable mlgle_stop equal ${mlgle_clock}+(10)"


def test_an_include_with_a_loop_stays_a_file(tmp_path):
    (tmp_path / "loop.lmp").write_text("label a\nfix 1 all nve\nnext k\njump SELF a\n")
    deck = goes_on(tmp_path, f"{HEAD}variable where index {tmp_path}\ninclude ${{where}}/loop.lmp\n").deck
    assert deck.before.splitlines()[-1] == 'include "deck.1.lmp"'
    assert deck.other_files == (("deck.1.lmp", "label a\nfix 1 all nve\nnext k\njump SELF a\n"),)
