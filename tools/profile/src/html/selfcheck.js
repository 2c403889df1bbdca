// The page checks itself when it is opened with `#selftest`: it goes through all its states and measures what was
// laid out. With `#selftest-here` it measures only the state that it begins with. What it found is left as JSON in the element `selfcheck`; the browser test decides on it.

const SLACK = 1.01;

function auditor() {
  const problems = new Set();
  const say = (text) => {
    if (problems.size < 60) problems.add(text);
  };
  const place = (element) => {
    const section = element.closest("section");
    return (section ? section.id : element.tagName) + ": " + JSON.stringify((element.textContent || "").slice(0, 40));
  };
  const visible = (box) => box.width > 0 && box.height > 0;

  /// Labels: inside the window and their frame, not cut, not empty, none over another.
  function labels(root) {
    let count = 0;
    for (const element of root.querySelectorAll("[data-fit]")) {
      if (element.closest("details:not([open])")) continue;
      const box = element.getBoundingClientRect();
      if (element.textContent.trim() === "" || element.getClientRects().length === 0) continue;
      count += 1;
      if (!visible(box)) say("label without size in " + place(element));
      if (box.left < -SLACK || box.right > innerWidth + SLACK) say("label outside the page in " + place(element));
      const frame = element.closest("[data-frame]");
      if (frame) {
        const outer = frame.getBoundingClientRect();
        if (box.left < outer.left - SLACK || box.right > outer.right + SLACK) say("label outside its chart in " + place(element));
      }
      if (element instanceof HTMLElement && element.clientWidth > 0 && element.scrollWidth > element.clientWidth + SLACK) say("label cut in " + place(element));
      const range = document.createRange();
      range.selectNodeContents(element);
      const text = range.getBoundingClientRect();
      const cell = element.parentElement.getBoundingClientRect();
      if (!(element instanceof SVGElement) && text.right > cell.right + SLACK) say("label wider than its place in " + place(element));
    }
    for (const axisElement of root.querySelectorAll("[data-axis]")) overlaps([...axisElement.querySelectorAll("text")], "labels of an axis overlap");
    return count;
  }

  /// No two of these rectangles overlap. Swept from left to right.
  function overlaps(elements, what) {
    const boxes = elements.map((element) => ({ element, box: element.getBoundingClientRect() })).filter(({ box }) => visible(box));
    boxes.sort((a, b) => a.box.left - b.box.left);
    let open = [];
    for (const one of boxes) {
      open = open.filter((other) => other.box.right > one.box.left + SLACK);
      for (const other of open) {
        if (one.box.top < other.box.bottom - SLACK && other.box.top < one.box.bottom - SLACK) {
          say(`${what}: ${place(one.element)} and ${place(other.element)}`);
        }
      }
      open.push(one);
    }
  }

  /// Bars: in their plot, visible if they stand for something, and those of one chart in the order of their values.
  function bars(root) {
    const drawn = [];
    for (const plot of root.querySelectorAll("[data-plot]")) {
      if (plot.closest("details:not([open])")) continue;
      const outer = plot.getBoundingClientRect();
      const rect = plot.querySelector(".bar");
      const value = Number(rect.dataset.value);
      const box = rect.getBoundingClientRect();
      if (outer.width < 30) say("plot without room in " + place(plot));
      if (value > 0 && !(box.width > 0 && box.height > 0)) say(`bar of ${value} without size in ` + place(plot));
      if (value === 0 && box.width > 0) say("bar of nothing has a size in " + place(plot));
      if (box.left < outer.left - SLACK || box.right > outer.right + SLACK) say(`bar of ${value} outside its plot in ` + place(plot));
      drawn.push({ kind: plot.dataset.plot, value, right: box.right - outer.left, share: (box.right - outer.left) / outer.width });
    }
    return drawn;
  }
  function ordered(drawn, what) {
    const sorted = [...drawn].sort((a, b) => a.value - b.value);
    for (let index = 1; index < sorted.length; index += 1) {
      if (sorted[index].share < sorted[index - 1].share - 0.01) say(`${what}: ${sorted[index].value} is drawn shorter than ${sorted[index - 1].value}`);
    }
  }

  /// The map: cells do not overlap, stay in the frame, names stay in their cells.
  function map() {
    const frame = byId("map-frame").getBoundingClientRect();
    const cells = [...document.querySelectorAll("#map-frame .cell")];
    let lines = 0;
    let area = 0;
    for (const cell of cells) {
      const box = cell.getBoundingClientRect();
      lines += Number(cell.dataset.lines);
      area += box.width * box.height;
      if (box.left < frame.left - SLACK || box.right > frame.right + SLACK || box.top < frame.top - SLACK || box.bottom > frame.bottom + SLACK) say("rectangle outside the map: " + JSON.stringify(cell.node.name.slice(0, 40)));
    }
    overlaps(cells, "rectangles of the map overlap");
    const texts = [...document.querySelectorAll("#map-frame [data-in-cell]")];
    overlaps(texts, "names in the map overlap");
    for (const text of texts) {
      const holder = text.previousElementSibling;
      const rect = holder && (holder.tagName === "text" ? holder.previousElementSibling : holder);
      const outer = rect && rect.getBoundingClientRect();
      const box = text.getBoundingClientRect();
      if (!outer || box.left < outer.left - SLACK || box.right > outer.right + SLACK || box.bottom > outer.bottom + 2 * SLACK) say("name outside its rectangle in the map: " + JSON.stringify(text.textContent));
    }
    return { rectangles: cells.length, lines, covered: frame.width > 0 ? area / (frame.width * frame.height) : 0 };
  }

  /// Places where a screenshot must show a colour: at the end of bars, in corners of the map's cells.
  function samples() {
    const found = [];
    const take = (element, x, y) => {
      const colour = getComputedStyle(element).fill.match(/^rgb\((\d+), (\d+), (\d+)\)$/);
      if (!colour) say("no plain colour: " + getComputedStyle(element).fill + " in " + place(element));
      else found.push({ x: Math.floor(x + scrollX), y: Math.floor(y + scrollY), colour: colour.slice(1).map(Number) });
    };
    for (const rect of document.querySelectorAll("[data-plot] .bar")) {
      if (rect.closest("details:not([open])")) continue;
      const box = rect.getBoundingClientRect();
      if (box.width >= 6 && box.height >= 3) take(rect, box.left + box.width / 2, box.top + box.height / 2);
    }
    for (const cell of document.querySelectorAll("#map-frame .cell")) {
      const box = cell.getBoundingClientRect();
      if (box.width >= 12 && box.height >= 12) take(cell, box.right - 3, box.bottom - 3);
    }
    return found;
  }

  /// The page is not wider than the window.
  function width() {
    const page = document.documentElement;
    if (page.scrollWidth > innerWidth + SLACK) {
      const widest = [...document.body.querySelectorAll("*")].filter((element) => !element.closest(".scroll") && element.getBoundingClientRect().right > innerWidth + SLACK);
      say(`the page is ${page.scrollWidth} wide in a window of ${innerWidth}: ` + (widest.length ? place(widest[widest.length - 1]) : "?"));
    }
  }
  return { problems, labels, bars, ordered, map, width, samples };
}

function selfcheck(walk) {
  const audit = auditor();
  const result = { glance: [], every: [], entries: [], maps: [], labels: 0, states: 0 };
  try {
    if (walk) goThrough(audit, result);
    audit.bars(document.body);
    result.labels += audit.labels(document.body);
    audit.map();
    audit.width();
    result.states += 1;
  } catch (error) {
    fail(error);
  }
  const boxes = {};
  for (const id of ["glance-chart", "every-chart", "entries-chart", "map-frame"]) {
    const box = byId(id).getBoundingClientRect();
    boxes[id] = [box.left + scrollX, box.top + scrollY, box.width, box.height].map(Math.round);
  }
  Object.assign(result, {
    width: innerWidth, height: Math.ceil(document.documentElement.getBoundingClientRect().height),
    dark: matchMedia("(prefers-color-scheme: dark)").matches, images: document.images.length, boxes,
    samples: audit.samples(), problems: [...audit.problems], errors: failures,
  });
  const text = JSON.stringify(result);
  document.body.append(el("pre", { id: "selfcheck", hidden: "" }, text));
  if (parent !== window) parent.postMessage(text, "*");
}

/// Brings the page into each of its states and back.
function goThrough(audit, result) {
  const before = { ...state };
  for (const scale of ["linear", "log"]) {
    for (const grouping of ["workload", "system"]) {
      change({ scale, grouping });
      const drawn = audit.bars(byId("every"));
      audit.ordered(drawn, "every");
      result.labels += audit.labels(byId("every"));
      result.every.push({ scale, grouping, bars: drawn.filter((bar) => bar.kind === "total").length, sum: sum(drawn.filter((bar) => bar.kind === "total").map((bar) => bar.value)) });
      result.states += 1;
    }
    for (const workload of workloadNames) {
      change({ workload });
      const drawn = audit.bars(byId("glance"));
      for (const kinds of [["total", ...ORIGINS], ["range"], ["vertical"]]) audit.ordered(drawn.filter((bar) => kinds.includes(bar.kind)), "glance");
      const entries = audit.bars(byId("entries"));
      audit.ordered(entries, "entries");
      result.labels += audit.labels(byId("glance")) + audit.labels(byId("entries"));
      audit.width();
      const of = (kind) => drawn.filter((bar) => bar.kind === kind).length;
      result.glance.push({ scale, workload, totals: of("total"), origins: sum(ORIGINS.map(of)), ranges: of("range"), vertical: of("vertical") });
      result.entries.push({ scale, workload, bars: entries.length });
      result.states += 1;
    }
  }
  report.systems.forEach((system, index) => {
    change({ system: index });
    for (const workload of system.workloads) {
      change({ workload: workload.name, path: [] });
      const map = audit.map();
      result.labels += audit.labels(byId("functions"));
      result.maps.push({ system: system.name, workload: workload.name, zoomed: false, wanted: sum(functionsOf(workload).map((one) => one.lines)), ...map });
      const first = document.querySelector("#map-frame .item:not(.leaf)");
      if (first) {
        const wanted = first.node.lines;
        first.dispatchEvent(new MouseEvent("click", { bubbles: true }));
        result.maps.push({ system: system.name, workload: workload.name, zoomed: true, wanted, ...audit.map() });
        const here = byId("map-path").textContent;
        document.querySelector("#map-frame .item").dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
        if (byId("map-path").textContent === here) audit.problems.add("Escape does not zoom out");
      }
      result.states += 1;
    }
  });
  change({ ...before, path: [] });
  change(before);
  document.activeElement.blur();
}
