"""The style of reports: one sheet for every page, light and dark as the reader's system has it.

Colours of series keep apart for colour-blind readers (Okabe & Ito, 2008), darkened on white to a contrast of
3:1 or more; series differ in marks and dashes too.
"""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1d1f23; --quiet: #5a606b; --rule: #dfe2e7; --empty: #f3f4f6;
  --s0: #0067a5; --s1: #c4500a; --s2: #00805d; --s3: #a8477f; --s4: #8a6d00; --s5: #5b5bd6;
  --good: #0067a5; --bad: #c4500a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #16181c; --ink: #e7e9ed; --quiet: #a0a7b3; --rule: #30343c; --empty: #1f2228;
    --s0: #58b4ee; --s1: #f08a4b; --s2: #3cc79d; --s3: #e08fbd; --s4: #dcc24a; --s5: #a3a3ff;
    --good: #58b4ee; --bad: #f08a4b;
  }
}
* { box-sizing: border-box; margin: 0; }
body {
  background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif;
  padding: 2rem clamp(16px, 3vw, 42px) 4rem;
}
main { max-width: 1300px; margin: 0 auto; }
h1 { font-size: 1.8rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; line-height: 1.3; margin-bottom: 0.5rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 0.5rem; overflow-wrap: anywhere; }
a { color: var(--s0); }
code { font: 0.92em ui-monospace, monospace; overflow-wrap: anywhere; }
.sub { color: var(--quiet); margin: 0.3rem 0 1rem; overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: 0.2rem 1.2rem; margin: 1rem 0; }
section { border-top: 1px solid var(--rule); margin-top: 2rem; padding-top: 1.5rem; }
section > p { max-width: 46rem; margin-bottom: 0.8rem; }
.facts { font-size: 0.9rem; }
.facts div {
  display: grid; grid-template-columns: 9rem minmax(0, 1fr); gap: 1rem; margin-bottom: 0.25rem;
}
dt { color: var(--quiet); overflow-wrap: anywhere; }
dd { overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: 0.6rem 0; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--quiet); font-size: 0.85rem; padding-bottom: 0.3rem; }
th, td {
  padding: 0.25rem 0.6rem; border-bottom: 1px solid var(--rule); text-align: right;
  vertical-align: top;
}
th { font-weight: 600; }
tbody th { font-weight: 400; }
th:first-child { text-align: left; padding-left: 0; }
.texts td { text-align: left; overflow-wrap: anywhere; }
.texts th { text-align: left; white-space: nowrap; }
.ours { font-weight: 600; }
.better, .right { color: var(--good); }
.worse, .wrong { color: var(--bad); }
td .better, td .worse { white-space: nowrap; }
.meaning, .quiet { color: var(--quiet); display: block; font-size: 0.8rem; }
sup { font-size: 0.75em; line-height: 0; color: var(--quiet); }
.notes {
  color: var(--quiet); font-size: 0.85rem; padding-left: 1.1rem; max-width: 60rem;
  overflow-wrap: anywhere;
}
.notes li { margin-bottom: 0.15rem; }
.warning { border-left: 4px solid var(--bad); padding: 0.3rem 0 0.3rem 0.8rem; margin: 0.8rem 0; }
details { margin: 0.8rem 0; }
summary { cursor: pointer; color: var(--s0); }
.charts {
  display: grid; gap: 1.5rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 280px), 1fr));
}
.halves {
  display: grid; gap: 1.5rem 3rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr));
}
figure { min-width: 0; margin-top: 0.8rem; }
figure > svg, .halves svg[role="img"] { display: block; width: 100%; height: auto; max-width: 460px; }
figcaption { font-weight: 600; font-size: 0.95rem; margin-bottom: 0.3rem; }
figure p { color: var(--quiet); font-size: 0.85rem; }
svg { overflow: visible; }
svg text { fill: var(--quiet); font: 11px system-ui, sans-serif; }
svg .name { fill: var(--ink); font-size: 12px; }
svg .halo { paint-order: stroke; stroke: var(--paper); stroke-width: 3px; stroke-linejoin: round; }
.grid { stroke: var(--rule); stroke-width: 1; fill: none; }
.axis { stroke: var(--quiet); stroke-width: 1; fill: none; }
.s0 { --line: var(--s0); } .s1 { --line: var(--s1); } .s2 { --line: var(--s2); }
.s3 { --line: var(--s3); } .s4 { --line: var(--s4); } .s5 { --line: var(--s5); }
.line { stroke: var(--line); stroke-width: 2; fill: none; stroke-linejoin: round; }
.faint { stroke: var(--line); stroke-width: 1; fill: none; opacity: 0.28; }
.area { fill: var(--line); opacity: 0.07; }
.gap { stroke: var(--line); stroke-width: 1.5; opacity: 0.45; }
.mark { fill: var(--line); stroke: var(--paper); stroke-width: 1; }
.hollow { fill: var(--paper); stroke: var(--line); stroke-width: 2; }
.legend {
  display: flex; flex-wrap: wrap; gap: 0.1rem 1rem; font-size: 0.85rem; margin-top: 0.3rem;
}
.legend span {
  display: inline-flex; align-items: center; gap: 0.4rem; overflow-wrap: anywhere; min-width: 0;
}
.legend svg { flex: none; }
.bars {
  display: grid; grid-template-columns: minmax(0, 11rem) minmax(4rem, 1fr) auto; gap: 0 0.7rem;
}
  font-size: 0.85rem; line-height: 1.25; font-variant-numeric: tabular-nums; align-items: center; }
.bars > .label { overflow-wrap: anywhere; padding: 0.2rem 0; }
.bars > .value { text-align: right; white-space: nowrap; }
.bars > .absent { color: var(--quiet); }
.bars svg { display: block; width: 100%; }
.bar { fill: var(--line); }
.tick { stroke: var(--ink); stroke-width: 1.5; }
img { display: block; width: 100%; height: auto; box-shadow: 0 0 0 1px var(--rule); }
img.small { image-rendering: pixelated; }
.tiles { display: grid; gap: 0.5rem 6px; font-size: 0.75rem; line-height: 1.3; align-items: start; }
.tiles .head { color: var(--quiet); }
.tiles .label { grid-column: 1 / -1; font-size: 0.85rem; padding-top: 0.3rem; }
.tile { min-width: 0; }
.tile .verdict { display: block; overflow-wrap: anywhere; font-size: 0.7rem; margin-top: 0.15rem; }
.sheets {
  display: grid; gap: 1.2rem 2.5rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 380px), 1fr));
}
.cards {
  display: grid; gap: 1.2rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 230px), 1fr));
}
.cards.alone { grid-template-columns: repeat(auto-fill, minmax(120px, 1fr)); }
.card .pair {
  display: grid; grid-template-columns: 1fr 1fr; gap: 6px; font-size: 0.75rem;
  color: var(--quiet);
}
.cards.alone .pair { grid-template-columns: 1fr; }
.card p { font-size: 0.85rem; overflow-wrap: anywhere; }
.card .quiet { color: var(--quiet); font-size: 0.8rem; }
.none {
  background: var(--empty); aspect-ratio: 1; display: grid; place-items: center;
  text-align: center;
}
@media (max-width: 500px) {
  .facts div { display: block; }
  .facts dt, .facts dd { display: inline; }
  .facts dt::after { content: ":"; }
  .bars {
  grid-template-columns: minmax(0, 7.6rem) minmax(4rem, 1fr) auto; gap: 0 0.5rem;
  font-size: 0.8rem;
}
  table { font-size: 0.78rem; }
  th, td { padding: 0.25rem 0.3rem; }
  td .better, td .worse { white-space: normal; }
  .meaning, svg .sparse { display: none; }
}
""".strip()
