"""The shortest iptables-restore input that leads from what is there to what has to be there.

A chain that is right already is not touched and keeps its counters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from classifier.host.iptables.ruleset import MEMORY_CHAIN, Chain, Jump, OurRules, Ruleset


def change(there: Ruleset, wanted: OurRules) -> str:
    """Leads from `there` to `wanted`; empty when nothing differs. Never touches the memory."""
    ours = there.ours
    tables = dict.fromkeys((*wanted.tables, *(t for t in there.tables if t in ours.tables)))
    return "".join(_table(table, _table_lines(table, there, wanted)) for table in tables)


def emptied(there: Ruleset, chain: str) -> str:
    """Empties one chain of ours in the table mangle; empty text when it is not there."""
    if not there.chain("mangle", chain):
        return ""
    # Not deleted: the chain is still jumped to.
    return _table("mangle", [f"-F {chain}"])


def appended(jump: Jump) -> str:
    return _table(jump.table, [f"-A {jump.hook} {jump.rule}"])


def memory_written(comments: Iterable[str]) -> str:
    """Replaces the memory by rules with these comments."""
    rules = (f"-A {MEMORY_CHAIN} -m comment --comment {_quoted(c)}" for c in comments)
    return _table("mangle", [f":{MEMORY_CHAIN} - [0:0]", *rules])


def memory_deleted() -> str:
    return _table("mangle", [f"-F {MEMORY_CHAIN}", f"-X {MEMORY_CHAIN}"])


def _table(table: str, lines: Sequence[str]) -> str:
    text = "".join(f"{line}\n" for line in lines)
    return f"*{table}\n{text}COMMIT\n" if lines else ""


def _table_lines(table: str, there: Ruleset, wanted: OurRules) -> list[str]:
    chains = [chain for chain in wanted.chains if chain.table == table]
    kept = {chain.name for chain in chains}
    changed = [chain for chain in chains if there.chain(table, chain.name) != chain.rules]
    surplus = [c.name for c in there.ours.chains if c.table == table and c.name not in kept]
    return [
        *(f":{chain.name} - [0:0]" for chain in changed),
        *(line for chain in changed for line in _rules(chain)),
        *_jump_lines(table, there, [jump for jump in wanted.jumps if jump.table == table]),
        *(f"-F {name}" for name in surplus),
        *(f"-X {name}" for name in surplus),
    ]


def _rules(chain: Chain) -> Iterable[str]:
    return (f"-A {chain.name} {rule}" for rule in chain.rules)


def hidden_surplus(there: Ruleset, wanted: OurRules) -> tuple[Jump, ...]:
    """Jumps that have to go from chains where iptables finds no rule to delete."""
    return tuple(
        jump
        for jump in there.ours.jumps
        if (jump.table, jump.hook) in there.unreadable and jump not in wanted.jumps
    )


def _jump_lines(table: str, there: Ruleset, wanted: Iterable[Jump]) -> list[str]:
    missing = {(jump.hook, jump.rule): jump for jump in wanted}
    surplus = [
        f"-D {name} {rule}"
        for where, name, rule in there.jumps
        if where == table
        and missing.pop((name, rule), None) is None
        and (where, name) not in there.unreadable
    ]
    return [*(f"-A {jump.hook} {jump.rule}" for jump in missing.values()), *surplus]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
