"""The page: what a policy did with traffic, and what another one would have done."""

from __future__ import annotations

from classifier.replay.report import Report
from classifier.report.comparison import comparison_section
from classifier.report.markup import name, text
from classifier.report.over_time import load_section, shares_section
from classifier.report.style import STYLE
from classifier.report.subject import Subject
from classifier.report.takers import remotes_section, rules_section
from classifier.report.uplinks import summary_section
from classifier.report.ways import Ways

_HEAD = (
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    # Nothing is loaded and nothing runs, whatever somebody might have smuggled in.
    '<meta http-equiv="Content-Security-Policy"'
    " content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<meta name="referrer" content="no-referrer">'
)


def page(report: Report, subject: Subject) -> str:
    """One HTML document that needs nothing else. The report has to have its figures."""
    figures, against = report.figures, report.against
    if figures is None:
        raise ValueError("a page needs a report with figures")
    policies = [subject.policy] if against is None else [subject.policy, against.policy]
    ways = Ways(uplink.name for policy in policies for uplink in policy.uplinks)
    sections = [summary_section(report, figures, subject, ways)]
    if against is not None:
        sections.append(comparison_section(report, against, subject, ways))
    sections += [
        shares_section(figures, ways),
        rules_section(figures, ways),
        load_section("Load of the uplinks", figures, subject.policy, ways),
    ]
    if against is not None and against.report.figures is not None:
        title = f"Load of the uplinks with {subject.other_name}"
        sections.append(load_section(title, against.report.figures, against.policy, ways))
    sections.append(remotes_section(figures, ways))
    return (
        f"{_HEAD}<title>{text(subject.name)}: {subject.command}</title><style>{STYLE}</style>"
        f"</head><body><h1>{name(subject.name)}</h1>{''.join(sections)}"
        f"<footer>Made by nfq-classifier {subject.command}. {text(subject.foot)}</footer>"
        "</body></html>\n"
    )
