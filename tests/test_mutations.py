"""The mistakes that mutation testing makes (`mutants.py`)."""

import ast

from mutations import mutations

SOURCE = '''"""Text + text."""
SCALE = 2 * 3


def f(a: int, b: float = 0.5) -> float:
    """a - b"""
    if a < b:
        raise ValueError(f"{a + b} é")  # - stays
    a = a + 1
    c = g(a, b) @ b.T
    return c, np.einsum("ij,jk->ik", a, b).mean(), x._replace(y=-a)
'''
CHANGES = {
    ("0.5", "1.0"),
    ("a < b", "a >= b"),
    ("a = a + 1", "pass"),
    ("a + 1", "a - 1"),
    ("a + 1", "a"),
    ("a + 1", "1"),
    ("1", "2"),
    ("g(a, b)", "g(b, a)"),
    ("g(a, b) @ b.T", "b.T @ g(a, b)"),
    ("b.T", "b"),
    ("np.einsum('ij,jk->ik', a, b)", "np.einsum('ij,jk->ki', a, b)"),
    ("np.einsum('ij,jk->ik', a, b)", "np.einsum('ij,jk->ik', b, a)"),
    ("np.einsum('ij,jk->ik', a, b).mean()", "np.einsum('ij,jk->ik', a, b).sum()"),
    ("x._replace(y=-a)", "x._replace()"),
    ("-a", "a"),
}


def test_every_mistake_is_made_once_and_the_rest_of_the_text_stays() -> None:
    actual = mutations(SOURCE)
    assert actual == mutations(SOURCE)
    texts = [each.source for each in actual]
    assert len(set(texts)) == len(texts) and SOURCE not in texts
    for each in actual:
        ast.parse(each.source)
        before, after = (text.splitlines() for text in (SOURCE, each.source))
        assert [i for i in range(len(before)) if before[i] != after[i]] == [each.line - 1]
    changes = {tuple(each.change.partition(": ")[2].split("  ->  ")) for each in actual}
    assert changes == CHANGES
