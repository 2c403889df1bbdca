// Scales, bars and axes. A plot's positions are percentages of its width: it needs no measuring and no redrawing.

/// A scale over these values, with about `most` labels. `reach` is what else should fit if that does not dwarf
/// them (the static sizes).
function makeScale(kind, values, reach, most = 5) {
  const positive = values.filter((value) => value > 0);
  let top = Math.max(0, ...positive);
  const wide = Math.max(top, ...(reach || []));
  if (!(top > 0)) return { top: 1, ticks: [], at: () => 0, cut: () => false };
  if (kind === "log") {
    top = wide;
    const low = Math.floor(Math.min(0, Math.log10(Math.min(...positive)))) - 0.4;
    const span = Math.max(0.5, Math.log10(top) - low);
    const powers = [];
    for (let power = Math.ceil(low); power <= Math.log10(top) + 1e-9; power += 1) powers.push(10 ** power);
    const every = Math.ceil(powers.length / most);
    return {
      top, ticks: powers.filter((_, index) => index % every === 0),
      at: (value) => (value > 0 ? Math.max(0.004, Math.min(1, (Math.log10(value) - low) / span)) : 0),
      cut: () => false,
    };
  }
  if (wide <= 4 * top) top = wide;
  const rough = top / (most - 1);
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * unit).find((one) => one >= rough);
  const ticks = [];
  for (let index = 0; index * step <= top * 1.0001; index += 1) ticks.push(index * step);
  return {
    top, ticks,
    at: (value) => (value > 0 ? Math.max(0.002, Math.min(1, value / top)) : 0),
    cut: (value) => value > top * 1.0001,
  };
}

const pct = (share) => (100 * share).toFixed(3) + "%";
const tickMarks = (scale, height) =>
  scale.ticks.map((tick) => svg("line", { class: "grid", x1: pct(scale.at(tick)), x2: pct(scale.at(tick)), y1: 0, y2: height }));

/// One bar. Says in attributes what it stands for, so that the page's check can tell whether it is right.
function bar(value, scale, options) {
  const { kind, height = 10, ghost = null, label, from = 0, grid = true } = options;
  const plot = svg("svg", { class: "plot", height, role: "img", "aria-label": label, "data-plot": kind });
  if (grid) plot.append(...tickMarks(scale, height));
  if (ghost !== null) {
    plot.append(svg("rect", { class: "static", x: 0.5, y: 0.5, width: pct(scale.at(ghost)), height: height - 1, rx: 2 }));
  }
  // A range may be thinner than what can be seen.
  const width = value > 0 ? Math.max(scale.at(value) - scale.at(from), 0.008) : 0;
  const left = Math.min(scale.at(from), 1 - width);
  plot.append(svg("rect", {
    class: "bar " + kind, x: pct(left), y: ghost === null ? 0 : 3, width: pct(width),
    height: ghost === null ? height : height - 6, rx: 1.5, "data-value": value,
  }));
  if (ghost !== null && scale.cut(ghost)) plot.append(torn(height));
  plot.append(svg("title", {}, label));
  return plot;
}

/// The mark at the right end: what lies behind goes on far beyond.
function torn(height) {
  const mark = svg("svg", { x: "100%", overflow: "visible", "aria-hidden": "true" });
  const middle = height / 2;
  mark.append(svg("path", { class: "torn", d: `M-11 ${middle - 4}l5 4-5 4zM-6 ${middle - 4}l5 4-5 4z` }));
  return mark;
}

/// The axis to a column of bars.
function axis(scale) {
  const holder = svg("svg", { class: "axis", "aria-hidden": "true", "data-axis": "" });
  for (const [index, tick] of scale.ticks.entries()) {
    const at = scale.at(tick);
    const every = index % 2 ? "second" : null;
    const anchor = at < 0.12 ? "start" : at > 0.88 ? "end" : "middle";
    holder.append(svg("line", { x1: pct(at), x2: pct(at), y1: 0, y2: 3 }));
    holder.append(svg("text", { x: pct(at), y: 14, class: every, "text-anchor": anchor, "data-fit": "" }, brief(tick)));
  }
  return holder;
}

const isOwn = (system) => system.name === "redoubt";
const name = (text) => el("bdi", {}, text);

/// One workload on all systems: lines by origin beside the static size, expected defects, vertical lines.
function drawGlance(state) {
  const measured = report.systems.map((system) => [system, workloadOf(system, state.workload)]);
  const found = measured.filter(([, workload]) => workload);
  const lines = found.flatMap(([, workload]) => [workload.horizontal.lines, ...ORIGINS.map((origin) => originOf(workload, origin).lines)]);
  const sizes = found.map(([system]) => staticLines(system));
  const scale = makeScale(state.scale, lines, sizes);
  const ranges = makeScale(state.scale, found.flatMap(([, workload]) => expected(workload.horizontal.lines)), [], 3);
  const beside = makeScale(state.scale, found.map(([, workload]) => verticalLines(workload)), [], 3);
  const head = (text) => el("th", { scope: "col" }, text);
  const first = found.length && found[0][0] === report.systems[0] ? found[0] : null;

  const body = el("tbody", {});
  for (const [system, workload] of measured) {
    const row = el("tr", { class: isOwn(system) ? "own" : "", "data-system": system.name },
      el("th", { scope: "row" }, el("span", { "data-fit": "" }, name(system.title)),
        el("span", { class: "version", "data-fit": "" }, name(system.version))));
    if (!workload) {
      row.append(el("td", { colspan: 3, class: "none" }, "Not measured. ", name(whyMissing(system.name, state.workload) || "")));
      body.append(row);
      continue;
    }
    const total = workload.horizontal.lines;
    const [low, high] = expected(total);
    const vertical = verticalLines(workload);
    row.append(
      el("td", { "data-name": "Privileged lines traversed (HAP)" }, linesCell(system, workload, scale, first)),
      el("td", { "data-name": "Defects to expect in them" },
        el("span", { class: "big", "data-fit": "" }, `${defects(low)} – ${defects(high)}`),
        bar(high, ranges, { kind: "range", from: low, height: 10, label: `${system.title}: ${defects(low)} to ${defects(high)} defects` })),
      el("td", { "data-name": "Vertical lines (VAP)" },
        el("span", { class: "big", "data-fit": "" }, whole(vertical)),
        bar(vertical, beside, { kind: "vertical", height: 10, label: `${system.title}: ${whole(vertical)} vertical lines` }),
        el("span", { class: "small", "data-fit": "" },
          workload.vertical.filter(([, measure]) => measure.lines > 0).map(([image, measure]) => `${image} ${whole(measure.lines)}`).join(", "))));
    body.append(row);
  }
  for (const one of report.missing.filter((one) => one.workload === null && !report.systems.some((system) => system.name === one.system))) {
    body.append(el("tr", {}, el("th", { scope: "row" }, name(one.system)), el("td", { colspan: 3, class: "none" }, "Not measured. ", name(one.reason))));
  }
  if (found.length) {
    body.append(el("tr", { class: "axes", "aria-hidden": "true" }, el("th", {}),
      el("td", {}, el("div", { class: "lines", "data-frame": "" }, el("span", {}), axis(scale), el("span", {}))),
      el("td", { "data-frame": "" }, axis(ranges)), el("td", { "data-frame": "" }, axis(beside))));
  }
  const table = el("table", { class: "glance" },
    el("colgroup", {}, el("col", { class: "c-name" }), el("col", { class: "c-lines" }), el("col", { class: "c-range" }), el("col", {})),
    el("thead", {}, el("tr", {}, head("System"), head("Privileged lines traversed (HAP)"), head("Defects to expect in them"), head("Vertical lines (VAP)"))),
    body);
  byId("glance-chart").replaceChildren(table);

  const said = [...new Set(found.map(([, workload]) => workload.what))];
  byId("glance-what").replaceChildren(
    ...(state.workload === null ? ["Nothing was measured."] : [el("b", {}, name(state.workload)), ": "]),
    ...said.flatMap((what, index) => {
      const who = found.filter(([, workload]) => workload.what === what).map(([system]) => system.title).join(", ");
      return [index ? el("br", {}) : "", name(what), said.length > 1 ? ` (${who})` : ""];
    }));
  byId("glance-scale").textContent = state.scale === "log"
    ? "On this scale equal distances are equal ratios, not equal numbers."
    : sizes.some((size) => scale.cut(size)) ? "Arrows: all privileged code goes on far beyond the edge; its size is written below." : "";
}

function linesCell(system, workload, scale, first) {
  const total = workload.horizontal.lines;
  const size = staticLines(system);
  const cell = el("div", { class: "lines" },
    el("span", { class: "label" }, "all"),
    bar(total, scale, { kind: "total", height: 22, ghost: size, label: `${system.title}: ${whole(total)} of ${whole(size)} privileged lines` }),
    el("span", { class: "value main", "data-fit": "" }, whole(total)));
  for (const origin of ORIGINS) {
    const part = originOf(workload, origin).lines;
    cell.append(el("span", { class: "label" }, origin),
      bar(part, scale, { kind: origin, height: 8, label: `${system.title}, ${origin}: ${whole(part)} lines` }),
      el("span", { class: "value", "data-fit": "" }, whole(part)));
  }
  const share = percent(total, size);
  const ratio = first && first[0] !== system && first[1].horizontal.lines > 0 ? total / first[1].horizontal.lines : null;
  cell.append(el("span", { class: "beside", "data-fit": "" },
    `of ${whole(size)} lines` + (share ? ` (${share})` : ""), ratio === null ? "" : ` · ${times(ratio)} × ${first[0].title}`));
  return cell;
}

/// All workloads on all systems, as panels with one scale.
function drawEvery(state) {
  const all = report.systems.flatMap((system) => system.workloads.map((workload) => [system, workload]));
  const scale = makeScale(state.scale, all.flatMap(([, workload]) => [workload.horizontal.lines, ...ORIGINS.map((origin) => originOf(workload, origin).lines)]));
  const byWorkload = state.grouping === "workload";
  const panels = byWorkload
    ? workloadNames.map((title) => [title, report.systems.map((system) => [system.title, system, workloadOf(system, title), title])])
    : report.systems.map((system) => [system.title, workloadNames.map((title) => [title, system, workloadOf(system, title), title])]);
  byId("every-chart").replaceChildren(...panels.map(([title, rows]) => {
    const list = el("div", { class: "rows" });
    for (const [label, system, workload, workloadName] of rows) {
      const own = byWorkload && isOwn(system) ? " own" : "";
      list.append(el("span", { class: "label", "data-fit": "" }, name(label)));
      if (!workload) {
        list.append(el("span", { class: "none", title: whyMissing(system.name, workloadName) }, "not measured"));
        continue;
      }
      const total = workload.horizontal.lines;
      const stack = el("div", { class: "stack" + own },
        bar(total, scale, { kind: "total", height: 12, label: `${system.title}, ${workload.name}: ${whole(total)} lines` }));
      for (const origin of ORIGINS) {
        const part = originOf(workload, origin).lines;
        if (part > 0) stack.append(bar(part, scale, { kind: origin, height: 4, label: `${origin}: ${whole(part)} lines` }));
      }
      list.append(stack, el("span", { class: "value", "data-fit": "" }, whole(total)));
    }
    list.append(el("span", { class: "axis-cell" }, axis(scale)));
    return el("figure", { class: "panel", "data-frame": "" }, el("h3", {}, name(title)), list);
  }));
}

/// Entries by cause, a panel for each system.
function drawEntries(state) {
  const SHOWN = 8;
  const measured = report.systems.map((system) => [system, workloadOf(system, state.workload)]).filter(([, workload]) => workload);
  const scale = makeScale(state.scale, measured.flatMap(([, workload]) => workload.entries.map((entry) => entry.count)));
  const rows = (entries) => {
    const list = el("div", { class: "rows entries" });
    for (const entry of entries) {
      const label = `${entry.cause}, from EL${entry.from}, ${entry.origin}: ${whole(entry.count)}`;
      list.append(
        el("span", { class: "label", "data-fit": "" }, name(entry.cause), el("span", { class: "sub" }, `from EL${entry.from} · ${entry.origin}`)),
        bar(entry.count, scale, { kind: entry.origin, height: 12, label }),
        el("span", { class: "value", "data-fit": "" }, whole(entry.count)));
    }
    return list;
  };
  byId("entries-what").replaceChildren("How often ", name(state.workload || "nothing"),
    " entered the privileged level from a lower one. All bars have one scale.");
  byId("entries-chart").replaceChildren(...measured.map(([system, workload]) => {
    const count = sum(workload.entries.map((entry) => entry.count));
    const panel = el("figure", { class: "panel", "data-frame": "", "data-system": system.name }, el("h3", {}, name(system.title)),
      el("span", { class: "small", "data-fit": "" }, `${whole(count)} entries; ${whole(workload.horizontal.instructions)} privileged instructions`));
    if (workload.entries.length === 0) panel.append(el("p", { class: "none" }, "Nothing entered."));
    else {
      const list = rows(workload.entries.slice(0, SHOWN));
      list.append(el("span", { class: "axis-cell" }, axis(scale)));
      panel.append(list);
    }
    const rest = workload.entries.slice(SHOWN);
    if (rest.length) {
      panel.append(el("details", {}, el("summary", {}, `${rest.length} more (${whole(sum(rest.map((entry) => entry.count)))} entries)`), rows(rest)));
    }
    return panel;
  }));
}
