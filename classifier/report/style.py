"""How the page looks: on paper, on a phone, by day and by night."""

_LIGHT = ("#2a78d6", "#eb6834", "#1baf7a", "#eda100", "#e87ba4", "#008300", "#4a3aa7", "#e34948")
_DARK = ("#3987e5", "#d95926", "#199e70", "#c98500", "#d55181", "#008300", "#9085e9", "#e66767")
COLOURS = len(_LIGHT)
"""Told apart by people who do not see all colours, next to each other in this order."""


def _theme(colours: tuple[str, ...], rest: str) -> str:
    return "".join(f"--c{i}:{colour};" for i, colour in enumerate(colours)) + rest


_LIGHT_THEME = _theme(
    _LIGHT,
    "--page:#f4f4f1;--card:#fcfcfb;--ink:#0b0b0b;--second:#52514e;--muted:#6f6d68;--grid:#e1e0d9;"
    "--axis:#a9a79e;--direct:#a3a199;--drop:#3a3936;",
)
_DARK_THEME = _theme(
    _DARK,
    "--page:#0d0d0d;--card:#1a1a19;--ink:#fff;--second:#c3c2b7;--muted:#a3a199;--grid:#2f2f2c;"
    "--axis:#5c5b56;--direct:#7c7a74;--drop:#deddd6;",
)


def _fills() -> str:
    rules = []
    for kind in [*map(str, range(COLOURS)), "direct", "drop"]:
        colour = f"--c{kind}" if kind.isdigit() else f"--{kind}"
        rules.append(f".w{kind}{{--way:var({colour})}}")
    return "".join(rules)


STYLE = (
    f":root{{color-scheme:light dark;{_LIGHT_THEME}}}"
    f"@media(prefers-color-scheme:dark){{:root{{{_DARK_THEME}}}}}"
    f"@media print{{:root{{color-scheme:light;{_LIGHT_THEME}}}}}"
    + _fills()
    + """
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:76rem;background:var(--page);color:var(--ink);
font:16px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
h1{font-size:1.5rem;margin:.5rem 0}
h2{font-size:1.15rem;margin:0 0 .25rem}
h3{font-size:1rem;margin:0}
p{margin:.25rem 0 .75rem;color:var(--second);max-width:46rem}
bdi{overflow-wrap:anywhere}
section{background:var(--card);border:1px solid var(--grid);border-radius:.5rem;padding:1rem;
margin:1rem 0}
.facts{display:flex;flex-wrap:wrap;gap:.5rem 2rem;margin:.75rem 0;padding:0;list-style:none}
.facts b{display:block;font-size:1.35rem;font-weight:600}
.facts span{color:var(--second);font-size:.9rem}
.scroll{overflow-x:auto;margin:.5rem 0}
table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums;min-width:100%}
caption{text-align:left;color:var(--second);padding:.25rem 0}
th,td{padding:.3rem .6rem .3rem 0;text-align:right;white-space:nowrap;vertical-align:top;
border-bottom:1px solid var(--grid);font-weight:400}
thead th{color:var(--second);vertical-align:bottom}
tbody th,th:first-child,.words{text-align:left}
tbody th,td.words{white-space:normal;min-width:9rem}
.key,.bar i{background-color:var(--way)}
.key{display:inline-block;width:.75rem;height:.75rem;border-radius:.15rem;margin-right:.4rem;
vertical-align:-.05rem}
.striped{background-image:repeating-linear-gradient(45deg,transparent 0 3px,var(--card) 3px 5px)}
.legend{display:flex;flex-wrap:wrap;gap:.25rem 1rem;margin:.25rem 0 .5rem;padding:0;
list-style:none;font-size:.9rem;color:var(--second)}
.line,.dash{display:inline-block;width:1.25rem;margin-right:.4rem;vertical-align:.25rem;
border-top:2px solid var(--ink)}
.dash{border-top-style:dashed}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:1.25rem}
figure{margin:.5rem 0 0;min-width:0}
figcaption{font-size:.9rem;color:var(--second)}
.plot{display:grid;grid-template-columns:auto 1fr;font-size:.8rem;color:var(--muted);
margin-top:.5rem}
.plot .y{position:relative;min-width:2.75rem;font-variant-numeric:tabular-nums}
.plot .y span{position:absolute;right:.4rem;transform:translateY(50%);white-space:nowrap}
.plot .area{position:relative;height:11rem}
.plot svg{position:absolute;inset:0;width:100%;height:100%;display:block;overflow:visible}
.plot .x{position:relative;height:1.5rem;grid-column:2}
.plot .x span{position:absolute;top:.2rem;transform:translateX(-50%);white-space:nowrap}
.plot .x span:first-child{transform:none}
.plot .x span.last{transform:translateX(-100%)}
.plot .limit{position:absolute;right:0;color:var(--ink);background:var(--card);padding:0 .25rem;
border-radius:.2rem;font-size:.75rem;line-height:1.3}
.load .y,.load .area{margin:1rem 0}
.plot .above{transform:translateY(-1px)}
.plot .below{transform:translateY(calc(100% + 1px))}
path,rect,line{vector-effect:non-scaling-stroke}
.grid{stroke:var(--grid)}
.zero{stroke:var(--axis)}
.fill{fill:var(--way)}
.stack{fill:var(--way);stroke:var(--card);stroke-width:1}
.stack.striped,.fill.striped{fill-opacity:.55}
.busiest{fill:none;stroke:var(--ink);stroke-width:1.25;opacity:.75}
.capacity{stroke:var(--ink);stroke-width:1.5;stroke-dasharray:5 4}
.bars{list-style:none;margin:.5rem 0;padding:0}
.bars li{margin:.5rem 0}
.bars .label{display:flex;flex-wrap:wrap;justify-content:space-between;gap:0 1rem;font-size:.9rem}
.bars .label span:last-child{color:var(--second);font-variant-numeric:tabular-nums}
.bar{display:flex;gap:2px;height:.8rem;margin-top:.15rem}
.bar i{display:block;height:100%;min-width:1px;border-radius:.1rem}
.several{--way:var(--second)}
details{margin:.5rem 0}
summary{cursor:pointer;color:var(--second);padding:.35rem 0}
footer{color:var(--muted);font-size:.85rem;margin:1rem 0}
@media(max-width:30rem){body{padding:.5rem}section{padding:.75rem}.facts{gap:.5rem 1.25rem}}
@media print{body{background:none}section{break-inside:avoid;border:0;padding:0}}
"""
)
