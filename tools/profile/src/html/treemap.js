// The map of functions: image, file, function as nested rectangles whose area is lines (squarified treemap).

const HEAD = 15;
const LUMP = 7;
const measuring = document.createElement("canvas").getContext("2d");
const family = getComputedStyle(document.body).fontFamily;

/// The tree of a workload: image, file, function; largest first.
function makeTree(functions) {
  const root = { kind: "all", name: "all images", lines: 0, instructions: 0, children: [], index: new Map() };
  const child = (parent, kind, key, from) => {
    let node = parent.index.get(key);
    if (!node) {
      node = { kind, name: key, parent, lines: 0, instructions: 0, functions: 0, children: [], index: new Map(), image: from.image, file: from.file };
      parent.index.set(key, node);
      parent.children.push(node);
    }
    return node;
  };
  for (const one of functions) {
    const image = child(root, "image", one.image, one);
    const file = child(image, "file", one.file, one);
    const leaf = { kind: "function", name: one.name, parent: file, lines: one.lines, instructions: one.instructions, functions: 1, children: [], image: one.image, file: one.file };
    file.children.push(leaf);
    for (const node of [root, image, file]) {
      node.lines += one.lines;
      node.instructions += one.instructions;
      node.functions = (node.functions || 0) + 1;
    }
  }
  const order = (node) => {
    node.children.sort((a, b) => b.lines - a.lines);
    node.children.forEach(order);
  };
  order(root);
  return root;
}

/// Which folders have a colour: the largest are split until none is most of the whole; eight get one.
/// The same for all workloads of a system, so that a colour keeps its meaning.
function folderColours(system) {
  const weight = new Map();
  for (const workload of system.workloads) {
    for (const one of functionsOf(workload)) weight.set(one.file, Math.max(weight.get(one.file) || 0, one.lines));
  }
  const parts = (file) => file.split("/").slice(0, -1);
  let folders = new Map([["", [...weight.keys()]]]);
  const size = (files) => sum(files.map((file) => weight.get(file)));
  const all = size([...weight.keys()]);
  for (let round = 0; round < 24; round += 1) {
    const splittable = [...folders].filter(([folder, files]) => {
      const depth = folder === "" ? 0 : folder.split("/").length;
      return files.some((file) => parts(file).length > depth) && (depth === 0 || size(files) > all * 0.22);
    });
    if (!splittable.length) break;
    const [folder, files] = splittable.sort((a, b) => size(b[1]) - size(a[1]))[0];
    const depth = folder === "" ? 0 : folder.split("/").length;
    folders.delete(folder);
    for (const file of files) {
      const own = parts(file);
      const key = own.length > depth ? own.slice(0, depth + 1).join("/") : folder + (folder === "" ? "(no folder)" : "/*");
      if (!folders.has(key)) folders.set(key, []);
      folders.get(key).push(file);
    }
  }
  const ranked = [...folders].sort((a, b) => size(b[1]) - size(a[1]));
  const colour = new Map();
  ranked.forEach(([, files], index) => files.forEach((file) => colour.set(file, Math.min(index, 8))));
  return { colour, names: ranked.slice(0, 8).map(([folder]) => folder), others: ranked.length - Math.min(8, ranked.length) };
}

/// Squarified layout of `items` (with `lines`, largest first) in a rectangle.
function squarify(items, x, y, width, height) {
  const placed = [];
  let left = sum(items.map((item) => item.lines));
  let at = 0;
  while (at < items.length && left > 0 && width > 0 && height > 0) {
    const side = Math.min(width, height);
    const unit = (width * height) / left;
    let row = 0;
    let worst = Infinity;
    let end = at;
    while (end < items.length) {
      const grown = row + items[end].lines * unit;
      const thick = grown / side;
      const first = (items[at].lines * unit) / thick;
      const last = (items[end].lines * unit) / thick;
      const ratio = Math.max(first / thick, thick / first, last / thick, thick / last);
      if (ratio > worst) break;
      worst = ratio;
      row = grown;
      end += 1;
    }
    const thick = end === items.length ? (width >= height ? width : height) : row / side;
    let along = 0;
    for (let index = at; index < end; index += 1) {
      const length = ((items[index].lines * unit) / row) * side;
      placed.push(width >= height
        ? { item: items[index], x, y: y + along, width: thick, height: length }
        : { item: items[index], x: x + along, y, width: length, height: thick });
      along += length;
      left -= items[index].lines;
    }
    if (width >= height) { x += thick; width -= thick; } else { y += thick; height -= thick; }
    at = end;
  }
  return placed;
}

/// Text that fits into a width, or null.
function shorten(text, width, weight) {
  measuring.font = `${weight} 11px ${family}`;
  if (measuring.measureText(text).width <= width) return text;
  const characters = [...text];
  let low = 0;
  let high = characters.length;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (measuring.measureText(characters.slice(0, middle).join("") + "…").width <= width) low = middle;
    else high = middle - 1;
  }
  return low < 3 ? null : characters.slice(0, low).join("") + "…";
}

/// Children that are worth a rectangle of their own; the rest as one.
function lumped(node, area) {
  const worth = node.children.filter((child) => child.lines > 0);
  const keep = worth.filter((child) => (child.lines / node.lines) * area >= LUMP);
  const rest = worth.slice(keep.length);
  if (rest.length < 2) return worth;
  return [...keep, {
    kind: "rest", name: `${whole(rest.length)} more`, parent: node, children: [], image: node.image, file: rest[0].file,
    lines: sum(rest.map((child) => child.lines)), instructions: sum(rest.map((child) => child.instructions)),
    functions: sum(rest.map((child) => child.functions)),
  }];
}

/// The node that the state's path names, or the nearest one that exists.
function nodeAt(root, path) {
  let node = root;
  for (const step of path) {
    const next = node.index && node.index.get(step);
    if (!next) break;
    node = next;
  }
  while (node.kind === "all" && node.children.length === 1) node = node.children[0];
  return node;
}
function pathOf(node) {
  const path = [];
  for (let at = node; at.parent; at = at.parent) path.unshift(at.name);
  return path;
}

function drawMap(state, change) {
  const frame = byId("map-frame");
  const system = report.systems[state.system];
  const workload = system && workloadOf(system, state.workload);
  byId("map-path").replaceChildren();
  byId("map-key").replaceChildren();
  byId("map-table").replaceChildren();
  hideTip();
  const empty = (text) => frame.replaceChildren(el("p", { class: "empty" }, text));
  byId("map-what").replaceChildren();
  if (!workload) return empty(system ? "This workload was not measured on this system. " + (whyMissing(system.name, state.workload) || "") : "Nothing was measured.");
  byId("map-what").replaceChildren(name(system.title), ", ", name(workload.name), `: ${whole(workload.horizontal.functions)} functions, ${whole(workload.horizontal.lines)} lines`);
  system.folders = system.folders || folderColours(system);
  workload.tree = workload.tree || makeTree(functionsOf(workload));
  const view = nodeAt(workload.tree, state.path);
  if (!(view.lines > 0)) return empty("No privileged function with lines was traversed.");

  const width = Math.floor(frame.clientWidth);
  const height = Math.floor(frame.clientHeight);
  const used = new Set();
  const items = [];
  const colourOf = (node) => {
    const index = system.folders.colour.get(node.file);
    used.add(index);
    return index;
  };
  const cell = (box, node, holder) => {
    const rect = svg("rect", { class: "cell f" + colourOf(node), x: box.x.toFixed(2), y: box.y.toFixed(2), width: Math.max(0, box.width).toFixed(2), height: Math.max(0, box.height).toFixed(2), "data-lines": node.lines });
    rect.node = node;
    holder.append(rect);
    if (box.width < 34 || box.height < 14) return;
    const text = shorten(node.name, box.width - 7, 400);
    if (text) holder.append(svg("text", { class: "name", x: (box.x + 3.5).toFixed(2), y: (box.y + 11.5).toFixed(2), "data-in-cell": "" }, text));
    if (text && node.kind === "function" && box.height >= 30 && box.width >= 50) {
      holder.append(svg("text", { class: "name", x: (box.x + 3.5).toFixed(2), y: (box.y + 24.5).toFixed(2), "data-in-cell": "" }, whole(node.lines)));
    }
  };
  const place = (box, node, holder, top) => {
    let target = holder;
    if (top) {
      const opens = node.children.length > 0;
      target = svg("g", { class: "item" + (opens ? "" : " leaf"), role: opens ? "button" : "img", tabindex: items.length ? -1 : 0, "aria-label": describe(node).join(", ") });
      target.node = node;
      items.push(target);
      holder.append(target);
    }
    if (node.children.length === 0) cell(box, node, target);
    else {
      const gap = node.kind === "image" ? 3 : 1.5;
      const label = box.width > 44 && box.height > 30 ? shorten(node.kind === "file" ? node.name.split("/").pop() : node.name, box.width - 8, 600) : null;
      const inner = { x: box.x + gap, y: box.y + (label ? HEAD : gap), width: box.width - 2 * gap, height: box.height - gap - (label ? HEAD : gap) };
      if (inner.width < 3 || inner.height < 3) cell(box, { ...node, kind: "rest" }, target);
      else {
        const outline = svg("rect", { class: "frame", x: box.x.toFixed(2), y: box.y.toFixed(2), width: box.width.toFixed(2), height: box.height.toFixed(2) });
        outline.node = node;
        target.append(outline);
        if (label) target.append(svg("text", { class: "head", x: (box.x + 4).toFixed(2), y: (box.y + 11.5).toFixed(2), "data-in-cell": "" }, label));
        for (const inside of squarify(lumped(node, inner.width * inner.height), inner.x, inner.y, inner.width, inner.height)) place(inside, inside.item, target, false);
      }
    }
    if (top) target.append(svg("rect", { class: "ring", x: box.x + 1, y: box.y + 1, width: Math.max(0, box.width - 2), height: Math.max(0, box.height - 2) }));
  };
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `Map of the functions in ${view.name}` });
  for (const box of squarify(lumped(view, width * height), 0, 0, width, height)) place(box, box.item, chart, true);
  frame.replaceChildren(chart);
  listen(chart, items, view, change);
  drawPath(view, change);
  drawKey(system, used);
  if (byId("map-list").open) drawList(view);
}

function describe(node) {
  const lines = `${whole(node.lines)} ${node.lines === 1 ? "line" : "lines"}`;
  const rest = node.kind === "function" ? [] : [`${whole(node.functions)} ${node.functions === 1 ? "function" : "functions"}`];
  return [node.name, ...rest, lines, `${whole(node.instructions)} instructions`];
}

function drawPath(view, change) {
  const steps = [];
  for (let node = view; node; node = node.parent) steps.unshift(node);
  const real = steps.filter((node, index) => !(node.kind === "all" && node.children.length === 1 && index < steps.length - 1));
  byId("map-path").replaceChildren(...real.flatMap((node, index) => {
    const last = index === real.length - 1;
    const button = el("button", { type: "button", "aria-current": last ? "location" : null, "data-fit": "" }, name(node.name));
    if (!last) button.addEventListener("click", () => change({ path: pathOf(node) }, true));
    return index ? [el("i", { "aria-hidden": "true" }, "›"), button] : [button];
  }));
}

function drawKey(system, used) {
  const entry = (index, text) => el("span", { "data-fit": "" }, el("i", { class: "swatch f" + index }), name(text));
  const entries = system.folders.names.map((folder, index) => (used.has(index) ? entry(index, folder) : null)).filter(Boolean);
  if (used.has(8)) entries.push(entry(8, `${system.folders.others} other folders`));
  byId("map-key").replaceChildren(...entries);
}

/// Pointer and keyboard. One element of the map can be tabbed to; arrows move among its elements.
function listen(chart, items, view, change) {
  const open = (node) => {
    if (node.children.length) change({ path: pathOf(node) }, true);
  };
  const itemOf = (target) => target.closest && target.closest(".item");
  chart.addEventListener("click", (event) => {
    const item = itemOf(event.target);
    if (item) open(item.node);
  });
  chart.addEventListener("pointermove", (event) => {
    if (event.target.node) showTip(event.target.node, event.clientX, event.clientY);
    else hideTip();
  });
  chart.addEventListener("pointerleave", hideTip);
  chart.addEventListener("focusin", (event) => {
    const item = itemOf(event.target);
    if (!item) return;
    items.forEach((one) => one.setAttribute("tabindex", one === item ? 0 : -1));
    if (item.matches(":focus-visible")) {
      const box = item.getBoundingClientRect();
      showTip(item.node, box.left + box.width / 2, box.top + Math.min(box.height, 40));
    }
  });
  chart.addEventListener("focusout", hideTip);
  chart.addEventListener("keydown", (event) => {
    const at = items.indexOf(itemOf(event.target));
    const next = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[event.key];
    if (next !== undefined) {
      items[Math.max(0, Math.min(items.length - 1, next))].focus();
    } else if (event.key === "Enter" || event.key === " ") {
      if (at >= 0) open(items[at].node);
    } else if (event.key === "Escape" || event.key === "Backspace") {
      if (view.parent) change({ path: pathOf(view.parent) }, true);
    } else return;
    event.preventDefault();
  });
}

function showTip(node, x, y) {
  const tip = byId("tip");
  const [title, ...rest] = describe(node);
  const where = node.kind === "function" || node.kind === "rest" ? [node.kind === "rest" ? node.parent.name : node.file, node.image] : node.kind === "file" ? [node.image] : [];
  tip.replaceChildren(el("b", {}, name(title)), ...[...new Set(where)].map((text) => el("span", {}, name(text))), el("span", {}, rest.join(" · ")));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const left = Math.max(8, Math.min(x + 14, innerWidth - box.width - 8));
  const top = y + 18 + box.height > innerHeight ? Math.max(8, y - box.height - 12) : y + 18;
  tip.style.transform = `translate(${left}px, ${top}px)`;
}
function hideTip() {
  byId("tip").hidden = true;
}

/// The functions of the view as a table.
function drawList(view) {
  const SHOWN = 300;
  const wanted = byId("map-filter").value.toLowerCase();
  const all = [];
  const collect = (node) => (node.kind === "function" ? all.push(node) : node.children.forEach(collect));
  collect(view);
  const found = all.filter((node) => wanted === "" || node.name.toLowerCase().includes(wanted) || node.file.toLowerCase().includes(wanted));
  found.sort((a, b) => b.lines - a.lines);
  const head = (text, number) => el("th", { scope: "col", class: number ? "n" : null }, text);
  const more = found.length > SHOWN ? el("tfoot", {}, el("tr", {}, el("td", { colspan: 5 }, `and ${whole(found.length - SHOWN)} more`))) : null;
  byId("map-table").replaceChildren(el("table", { class: "data" },
    el("thead", {}, el("tr", {}, head("Function"), head("File"), head("Image"), head("Lines", true), head("Instructions", true))),
    el("tbody", {}, ...found.slice(0, SHOWN).map((node) => el("tr", {},
      el("th", { scope: "row", class: "wrap" }, name(node.name)), el("td", { class: "wrap" }, name(node.file)), el("td", {}, name(node.image)),
      el("td", { class: "n" }, whole(node.lines)), el("td", { class: "n" }, whole(node.instructions))))), more));
}
