// The report, as it is embedded: names of functions, files and images are numbers that index `strings`.

const embedded = JSON.parse(byId("report").textContent);
const report = embedded.report;
const ORIGINS = ["boot", "host", "guest"];

/// The functions that a workload traversed.
function functionsOf(workload) {
  if (!workload.decoded) {
    const flat = workload.traversed;
    workload.decoded = [];
    for (let at = 0; at < flat.length; at += 5) {
      workload.decoded.push({
        image: embedded.strings[flat[at]], file: embedded.strings[flat[at + 1]], name: embedded.strings[flat[at + 2]],
        lines: flat[at + 3], instructions: flat[at + 4],
      });
    }
  }
  return workload.decoded;
}

/// The workloads' names, in the order in which systems have them.
const workloadNames = [...new Set(report.systems.flatMap((system) => system.workloads.map((workload) => workload.name)))];
const workloadOf = (system, name) => system.workloads.find((workload) => workload.name === name);
const staticLines = (system) => sum(system.privileged.map((image) => image.lines));
const verticalLines = (workload) => sum(workload.vertical.map(([, measure]) => measure.lines));
const expected = (lines) => [(lines * report.density.low) / 1000, (lines * report.density.high) / 1000];
function originOf(workload, origin) {
  const found = workload.by_origin.find(([name]) => name === origin);
  return found ? found[1] : { functions: 0, lines: 0, instructions: 0 };
}
/// Why there is no measurement of a system with a workload.
function whyMissing(system, workload) {
  const found = report.missing.find((one) => one.system === system && (one.workload === null || one.workload === workload));
  return found ? found.reason : null;
}

/// The workload to begin with: one that many systems have, and in which a tenant takes part.
function firstWorkload() {
  const rank = (name) => {
    const measured = report.systems.map((system) => workloadOf(system, name)).filter(Boolean);
    const ofGuests = measured.filter((workload) => originOf(workload, "guest").lines > 0).length;
    return measured.length * 4 + ofGuests * 2 + (name === "vm-io" ? 1 : 0);
  };
  return workloadNames.reduce((best, name) => (best === null || rank(name) > rank(best) ? name : best), null);
}
