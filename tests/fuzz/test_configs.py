"""Configurations, and what the user is taken to have named in them."""

import json

from hypothesis import given
from hypothesis import strategies as st

from pcpad.bounded_yaml import read_yaml
from pcpad.errors import UserError
from pcpad.trust import named_values

_PIECES = st.sampled_from(
    (
        *(
            "a",
            ": ",
            "- ",
            "\n",
            "\n  ",
            "{",
            "}",
            "[",
            "]",
            ", ",
            "&x ",
            "*x",
            "&y ",
            "*y",
            "<<: ",
            "? ",
            "| ",
            "> ",
            "%",
            "'",
        ),
        *(
            '"',
            "#",
            "---\n",
            "...\n",
            "!!python/object/apply:os.system [echo]",
            "!!python/name:os.system",
            "!!binary ",
            "!x ",
        ),
        *(
            "!!set ",
            "!!omap ",
            "!!timestamp ",
            "!!float ",
            "!!int ",
            "!!bool ",
            "!!null ",
            "!!str ",
            "!!pairs ",
            "!!merge ",
        ),
        *(
            "2001-99-99",
            "1:2:3",
            "0x",
            "0b2",
            "1e5",
            ".inf",
            "~",
            "=",
            "\t",
            "\0",
            "\ufeff",
            "\ud800",
            "\x85",
            "é",
            "190:20:30",
        ),
        *("class_path: evilmod.Evil", "init_args: ", "ckpt_path: ", "0o8", "_", "1__0", "-_", "+.", "0x_", "0b_"),
    )
)
_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates(), st.datetimes()
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(_PIECES, st.integers()), inner, max_size=4)
    ),
    max_leaves=12,
)
_TEXTS = st.one_of(
    st.lists(_PIECES, max_size=16).map("".join),
    st.text(max_size=40),
    _VALUES.map(lambda value: json.dumps(value, default=str)),
    st.tuples(st.sampled_from(("[", "{a: ", "- ", "? ", "(", "!!set {")), st.integers(1, 3000)).map(
        lambda x: x[0] * x[1]
    ),
)


@given(text=_TEXTS)
def test_texts(outcome, text):
    outcome(read_yaml, text, "a config")


@given(levels=st.integers(1, 12), width=st.integers(1, 12), keys=st.booleans(), inner=_PIECES)
def test_aliases_of_aliases(outcome, levels, width, keys, inner):
    lines = [f"a0: &a0 [{json.dumps(inner)}]"]
    for level in range(1, levels):
        names = [f"*a{level - 1}"] * width
        value = (
            "{" + ", ".join(f"k{n}: {name}" for n, name in enumerate(names)) + "}" if keys else f"[{', '.join(names)}]"
        )
        lines.append(f"a{level}: &a{level} {value}")
    outcome(read_yaml, "\n".join(lines), "a config")


@given(merges=st.lists(st.integers(0, 5), max_size=8), wide=st.integers(1, 40))
def test_merged_mappings(outcome, merges, wide):
    lines = ["m0: &m0 {" + ", ".join(f"k{n}: {n}" for n in range(wide)) + "}"]
    lines += [
        f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * (1 + many))}], j{n}: 1}}" for n, many in enumerate(merges, 1)
    ]
    outcome(read_yaml, "\n".join(lines), "a config")


@given(
    text=_TEXTS,
    args=st.lists(st.one_of(_TEXTS, st.sampled_from(("--a", "--a=b", "--a.b+", "--", "--data.x"))), max_size=4),
)
def test_what_is_named(outcome, write, text, args):
    found = outcome(named_values, args, [write("named.yaml", text.encode(errors="replace"))])
    assert isinstance(found, UserError) or all(type(name) is str for name in found)
