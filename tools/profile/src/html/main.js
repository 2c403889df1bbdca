// The page's state and its controls.

const state = { workload: firstWorkload(), scale: "linear", grouping: "workload", system: 0, path: [] };

function firstScale() {
  const lines = report.systems.flatMap((system) => system.workloads.map((workload) => workload.horizontal.lines)).filter((count) => count > 0);
  return lines.length && Math.max(...lines) > 200 * Math.min(...lines) ? "log" : "linear";
}

/// Draws what a change of these keys touches.
function draw(keys) {
  const touched = (...names) => names.some((one) => keys.includes(one));
  if (touched("workload", "scale")) {
    drawGlance(state);
    drawEntries(state);
  }
  if (touched("scale", "grouping")) drawEvery(state);
  if (touched("workload", "system", "path")) drawMap(state, change);
}
function change(next, keepFocus) {
  Object.assign(state, next);
  if ("system" in next) state.path = [];
  draw(Object.keys(next));
  if (keepFocus) {
    const first = document.querySelector("#map-frame .item");
    if (first) first.focus({ preventScroll: true });
  }
}

function begin() {
  state.scale = firstScale();
  for (const part of document.querySelectorAll("[data-script]")) part.hidden = false;
  byId("workload").replaceChildren(...workloadNames.map((text) => el("option", { value: text }, text)));
  byId("system").replaceChildren(...report.systems.map((system, index) => el("option", { value: index }, system.title)));
  byId("workload").value = state.workload;
  const radios = [...document.querySelectorAll('input[name="scale"], input[name="grouping"]')];
  for (const radio of radios) {
    radio.checked = state[radio.name] === radio.value;
    radio.addEventListener("change", () => change({ [radio.name]: radio.value }));
  }
  byId("workload").addEventListener("change", (event) => change({ workload: event.target.value }));
  byId("system").addEventListener("change", (event) => change({ system: Number(event.target.value) }));
  const relist = () => drawMap(state, change);
  byId("map-list").addEventListener("toggle", relist);
  byId("map-filter").addEventListener("input", relist);
  for (const form of document.querySelectorAll("form")) form.addEventListener("submit", (event) => event.preventDefault());
  draw(Object.keys(state));
  let drawn = byId("map-frame").clientWidth;
  new ResizeObserver(() => {
    const width = byId("map-frame").clientWidth;
    if (width !== drawn) drawMap(state, change);
    drawn = width;
  }).observe(byId("map-frame"));
}

try {
  begin();
} catch (error) {
  fail(error);
}
if (location.hash.startsWith("#selftest")) selfcheck(location.hash === "#selftest");
