// The charts of a run: unpacked and drawn when its section comes into view, drawn anew when a filter or the colours change.
const FIGURES = ["train_accuracy", "val_accuracy", "train_loss", "val_loss"];
const WORDS = { accuracy: "accuracy", loss: "loss, nats" };
const drawn = new Map();

const floats = (text) => new Float32Array(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
const shown = (value) => (value == null || Number.isNaN(value) ? "-" : typeof value === "number" ? String(+value.toPrecision(4)) : String(value));
const safe = (text) => echarts.format.encodeHTML(String(text));

async function unpack(packed) {
  const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

function withCurves(run) {
  const columns = Object.fromEntries(Object.entries(run.curves).map(([name, text]) => [name, floats(text)]));
  const curves = run.trials.trial_id.map(() => ({ epoch: [], train_accuracy: [], val_accuracy: [], train_loss: [], val_loss: [] }));
  columns.trial.forEach((trial, row) => {
    for (const name of ["epoch", ...FIGURES]) curves[trial][name].push(columns[name][row]);
  });
  return { ...run, curves };
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  return { text: of("--text"), soft: of("--soft"), line: of("--line"), page: of("--page"), best: of("--link"), other: of("--other"), train: of("--train"), shared: of("--shared") };
}

// The table's, where it is one of these; else the best of them by validation. (Final fits have no figure of their own there.)
const bestOf = (run, trials, metric) => {
  if (trials.includes(run.best)) return run.best;
  const value = (trial) => run.trials[`val_${metric}`][trial];
  const able = trials.filter((trial) => value(trial) != null && run.trials.status[trial] !== "failed");
  return able.sort((a, b) => (metric === "loss" ? value(a) - value(b) : value(b) - value(a)))[0];
};

const told = (run, trial) =>
  [`trial ${run.trials.trial_id[trial]} (${run.trials.status[trial]})`, ...Object.entries(run.params).map(([name, values]) => `${name} ${shown(values[trial])}`)]
    .map(safe)
    .join("<br>");

const axis = (name, colour, more) => ({
  name, nameLocation: "middle", nameGap: 28, nameTextStyle: { color: colour.soft },
  axisLabel: { color: colour.soft, hideOverlap: true }, axisLine: { lineStyle: { color: colour.line } }, splitLine: { lineStyle: { color: colour.line, opacity: 0.5 } }, scale: true, ...more,
});
const frame = (colour) => ({
  animation: false, textStyle: { color: colour.text, fontFamily: "system-ui, sans-serif" }, grid: { left: 56, right: 20, top: 36, bottom: 46 },
  tooltip: { trigger: "item", confine: true, backgroundColor: colour.page, borderColor: colour.line, textStyle: { color: colour.text, fontSize: 12 } },
});

// The ends of an axis of a figure, in fifths: of accuracies never beyond 1.
function fifths(values, metric) {
  const [low, high] = values.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [Infinity, -Infinity]);
  let [min, max] = [Math.floor(low * 5), Math.ceil(high * 5)];
  if (min === max) [min, max] = [Math.max(min - 1, 0), metric === "accuracy" ? Math.min(max + 1, 5) : max + 1];
  return values.length ? { min: min / 5, max: max / 5 } : {};
}

// Where all stand at one place ECharts would go half as far again to each side: from 0.4 to 1.6 for an accuracy of 0.97.
const alone = (values) => new Set(values).size === 1 && typeof values[0] === "number";
function figureEnds(values, metric) {
  if (!alone(values)) return {};
  const { min, max } = fifths(values, metric);
  // Its own steps would begin at 0: 0.8, 0.81, 0.84, ...
  return { min, max, interval: +((max - min) / 4).toPrecision(1) };
}
// From 0 to the next of 1, 2, 5, 10, ... above it.
function amountEnds(values) {
  if (!alone(values) || values[0] <= 0) return {};
  const ten = 10 ** Math.floor(Math.log10(values[0]));
  return { min: 0, max: +([1, 2, 5, 10].find((step) => step * ten > values[0]) * ten).toPrecision(1) };
}

// Of many lines: so faint that where they are dense is seen.
const faint = (count) => Math.min(0.6, Math.max(0.06, 20 / count));

// The axis of a setting or figure, and what it takes for a value. Few values that were chosen from stand side by side, each with its label; a scale is
// logarithmic only where the search was, or where no search says and the values, not parts of 1, span three powers of ten.
function scale(run, name, values) {
  const known = [...new Set(values.filter((value) => value != null))], kind = run.kinds[name];
  const numbers = known.every((value) => typeof value === "number");
  if (!numbers || kind === "choice" || (known.every(Number.isInteger) && known.length <= 12)) {
    const data = (numbers ? known.sort((a, b) => a - b) : known).map(String);
    return { type: "category", data, cell: (value) => (value == null ? null : String(value)) };
  }
  const low = Math.min(...known), high = Math.max(...known);
  const log = low > 0 && (kind === "log_uniform" || (kind === undefined && high > 1 && high / low >= 1000));
  return log ? { type: "log", cell: (value) => value } : { type: "value", ...amountEnds(known), cell: (value) => value };
}

function curves(run, trials, metric, split, colour) {
  const best = bestOf(run, trials, metric);
  const name = `${split}_${metric}`;
  const points = (trial, column) => run.curves[trial].epoch.map((epoch, n) => [epoch, run.curves[trial][column][n]]).filter((point) => !Number.isNaN(point[1]));
  const others = trials.filter((trial) => trial !== best && run.curves[trial].epoch.length);
  // `lines` is one series for all of them, but does not stretch the axes.
  const all = trials.flatMap((trial) => [...run.curves[trial][`train_${metric}`], ...run.curves[trial][`val_${metric}`]]).filter((value) => !Number.isNaN(value));
  const last = trials.reduce((most, trial) => Math.max(most, ...run.curves[trial].epoch), 1);
  const line = (of, column, color, type) => ({
    name: of, type: "line", showSymbol: last < 2, symbolSize: 6, data: points(best, column), lineStyle: { color, width: 2.5, type }, itemStyle: { color }, z: 5,
    tooltip: { formatter: (at) => `${told(run, best)}<br>epoch ${at.value[0]}: ${safe(of)} ${WORDS[metric]} ${shown(at.value[1])}` }, triggerLineEvent: true,
  });
  const series = [{
    name: "other trials", type: "lines", coordinateSystem: "cartesian2d", polyline: true, progressive: 0, itemStyle: { color: colour.other }, lineStyle: { color: colour.other, width: 1, opacity: faint(others.length) },
    data: others.map((trial) => ({ coords: points(trial, name), trial })).filter((item) => item.coords.length > 1),
    tooltip: { formatter: (at) => told(run, at.data.trial) },
  }];
  if (best !== undefined) {
    if (split === "val") series.push(line("best, train", `train_${metric}`, colour.train, "dashed"), line("best, validation", name, colour.best, "solid"));
    else series.push(line("best, train", name, colour.train, "solid"));
  }
  return {
    ...frame(colour), legend: { top: 0, textStyle: { color: colour.soft } }, series,
    xAxis: axis("epoch", colour, { type: "value", min: 1, max: Math.max(last, 2), minInterval: 1 }),
    yAxis: axis("", colour, { type: "value", ...fifths(all, metric) }),
  };
}

const measured = (run, trials, metric) => trials.filter((trial) => run.trials[`val_${metric}`][trial] != null);

// Trials that differ in the seed alone and had all their epochs, one a seed (a search may ask for the same twice): mean, one standard deviation to each side.
function seeds(run, trials, metric) {
  const groups = new Map();
  for (const trial of trials.filter((each) => run.trials.status[each] === "completed" && run.trials.final_of[each] == null)) {
    const key = JSON.stringify(Object.values(run.params).map((values) => values[trial]));
    const group = groups.get(key) ?? new Map();
    if (!group.has(run.trials.seed[trial])) group.set(run.trials.seed[trial], trial);
    groups.set(key, group);
  }
  return [...groups.values()].map((group) => [...group.values()]).filter((group) => group.length > 1).map((group) => {
    const values = group.map((trial) => run.trials[`val_${metric}`][trial]);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    return { trial: group[0], count: values.length, mean, deviation: Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1)) };
  });
}

// A band through all of them where each has a place of its own on the axis; else, as for one of them, a bar each.
function band(groups, ordered, colour) {
  const style = { fill: colour.best, opacity: 0.2 };
  const apart = ordered && groups.length > 1 && new Set(groups.map((group) => group[0])).size === groups.length;
  return (at, api) => {
    const corner = ([x, low, high]) => [api.coord([x, low]), api.coord([x, high])];
    if (!apart) {
      const [[x, low], [, high]] = corner(groups[at.dataIndex]);
      return { type: "rect", shape: { x: x - 9, y: high, width: 18, height: Math.max(low - high, 2) }, style };
    }
    const corners = groups.map(corner);
    // All of it with the first, so that it is one shape; the others are marks to point at.
    const here = { type: "circle", shape: { cx: corners[at.dataIndex][0][0], cy: api.coord([groups[at.dataIndex][0], groups[at.dataIndex][3]])[1], r: 5 }, style: { fill: colour.page, stroke: colour.best, lineWidth: 2 } };
    const whole = { type: "polygon", shape: { points: [...corners.map(([low]) => low), ...corners.map(([, high]) => high).reverse()] }, style, silent: true };
    const middle = { type: "polyline", shape: { points: groups.map((group) => api.coord([group[0], group[3]])) }, style: { stroke: colour.best, lineWidth: 1.5, fill: null }, silent: true };
    return { type: "group", children: at.dataIndex ? [here] : [whole, middle, here] };
  };
}

function swept(run, trials, metric, param, colour) {
  const values = run.params[param] ?? run.trials.seed, name = param ?? "seed";
  const able = measured(run, trials, metric).filter((trial) => values[trial] != null);
  const { cell, ...along } = scale(run, name, able.map((trial) => values[trial]));
  const ordered = able.every((trial) => typeof values[trial] === "number");
  const groups = (param ? seeds(run, able, metric) : []).sort((a, b) => values[a.trial] - values[b.trial])
    .map(({ trial, count, mean, deviation }) => [cell(values[trial]), mean - deviation, mean + deviation, mean, count]);
  return {
    ...frame(colour),
    xAxis: axis(name, colour, along),
    yAxis: axis("", colour, { type: "value", ...figureEnds(able.map((trial) => run.trials[`val_${metric}`][trial]), metric) }),
    series: [
      { name: "seeds", type: "custom", z: 1, data: groups, encode: { x: 0, y: [1, 2] }, renderItem: band(groups, ordered, colour),
        tooltip: { formatter: (at) => `${safe(name)} ${safe(shown(at.value[0]))}: ${shown(at.value[3])} ± ${shown(at.value[2] - at.value[3])} over ${at.value[4]} seeds` } },
      { name: "trials", type: "scatter", symbolSize: 8, itemStyle: { color: colour.best, opacity: Math.max(0.25, faint(able.length / 5)) }, data: able.map((trial) => ({ value: [cell(values[trial]), run.trials[`val_${metric}`][trial]], trial })),
        tooltip: { formatter: (at) => `${told(run, at.data.trial)}<br>validation ${WORDS[metric]} ${shown(at.value[1])}` } },
    ],
  };
}

function cost(run, trials, metric, colour) {
  const better = metric === "loss" ? (a, b) => a < b : (a, b) => a > b;
  const able = measured(run, trials, metric).sort((a, b) => run.trials.train_seconds[a] - run.trials.train_seconds[b]);
  const point = (trial) => ({ value: [run.trials.train_seconds[trial], run.trials[`val_${metric}`][trial]], trial });
  const front = [];
  for (const trial of able) if (!front.length || better(point(trial).value[1], front.at(-1).value[1])) front.push(point(trial));
  const formatter = (at) => `${told(run, at.data.trial)}<br>${shown(at.value[0])} s, validation ${WORDS[metric]} ${shown(at.value[1])}`;
  const [seconds, figures] = [0, 1].map((place) => able.map((trial) => point(trial).value[place]));
  return {
    ...frame(colour), legend: { top: 0, textStyle: { color: colour.soft } },
    xAxis: axis("training and validation, s", colour, { type: "value", ...amountEnds(seconds) }), yAxis: axis("", colour, { type: "value", ...figureEnds(figures, metric) }),
    series: [
      { name: "trials", type: "scatter", symbolSize: 8, itemStyle: { color: colour.other, opacity: Math.max(0.35, faint(able.length / 5)) }, data: able.map(point), tooltip: { formatter } },
      { name: "none is both faster and better", type: "line", step: "end", data: front, symbolSize: 8, itemStyle: { color: colour.best }, lineStyle: { color: colour.best }, tooltip: { formatter } },
    ],
  };
}

const MOST_AXES = 8;

function parallel(run, trials, metric, colour) {
  const able = measured(run, trials, metric), name = `val_${metric}`;
  // More axes than that cannot be read; the most important are the first.
  const columns = [...Object.entries(run.params).slice(0, MOST_AXES), ["train s", run.trials.train_seconds], [`validation ${metric}`, run.trials[name]]];
  const settings = columns.length - 2, last = able.map((trial) => run.trials[name][trial]);
  const ends = [amountEnds(able.map((trial) => run.trials.train_seconds[trial])), figureEnds(last, metric)];
  const dims = columns.map(([title, values], dim) => ({ dim, name: title, scale: true, axisTick: { alignWithLabel: true }, ...(dim < settings ? scale(run, title, able.map((trial) => values[trial])) : { type: "value", ...ends[dim - settings], cell: (value) => value }) }));
  return {
    ...frame(colour),
    parallel: { left: 50, right: 60, top: 40, bottom: 24, parallelAxisDefault: {
      // Labels above the lines, which would hide them.
      z: 10, nameTextStyle: { color: colour.soft }, axisLabel: { color: colour.soft, backgroundColor: colour.page, padding: [1, 3], hideOverlap: true, formatter: (value) => shown(value) }, axisLine: { lineStyle: { color: colour.soft } }, axisTick: { lineStyle: { color: colour.soft } } } },
    parallelAxis: dims,
    visualMap: { show: false, dimension: dims.length - 1, min: Math.min(...last), max: Math.max(...last), inRange: { color: metric === "loss" ? [colour.best, colour.other] : [colour.other, colour.best] } },
    series: [{ name: "trials", type: "parallel", lineStyle: { width: 1.5, opacity: faint(able.length) }, data: able.map((trial) => ({ value: columns.map(([, values], dim) => dims[dim].cell(values[trial]) ?? "-"), trial })),
      tooltip: { formatter: (at) => told(run, at.data.trial) } }],
  };
}

function draw(section) {
  const { run, charts } = drawn.get(section), colour = colours();
  const metric = section.querySelector("select[name=metric]").value, param = section.querySelector("select[name=param]")?.value;
  const states = new Set([...section.querySelectorAll("input[name=status]:checked")].map((box) => box.value));
  const trials = run.trials.trial_id.map((_, trial) => trial).filter((trial) => states.has(run.trials.status[trial])).filter(matching(run, section.querySelector("input[name=filter]").value));
  const all = run.trials.trial_id.length, curved = run.drawn < all ? `; curves of the best ${run.drawn.toLocaleString("en")} by validation accuracy alone` : "";
  section.querySelector(".shown").textContent = `${trials.length.toLocaleString("en")} of ${all.toLocaleString("en")} trials${curved}`;
  charts.validation.setOption(curves(run, trials, metric, "val", colour), true);
  charts.train.setOption(curves(run, trials, metric, "train", colour), true);
  charts.swept.setOption(swept(run, trials, metric, param, colour), true);
  const params = Object.keys(run.params).length;
  section.querySelector(".cut").textContent = params > MOST_AXES ? ` (${MOST_AXES} of ${params} settings)` : "";
  charts.parallel.setOption(parallel(run, trials, metric, colour), true);
  charts.cost.setOption(cost(run, trials, metric, colour), true);
  charts.timeline.setOption(timelineOf(run, trials, colour, charts.timeline.getWidth()), true);
  table(section, run, trials, bestOf(run, trials, metric));
}

// A filter that fits this run.
function example(run) {
  const name = Object.keys(run.params).find((param) => run.params[param].some((value) => typeof value === "number"));
  return name ? `${name.replaceAll(" ", "_")}>=${shown(run.params[name].find((value) => typeof value === "number"))}` : "validation_accuracy>=0.9";
}

function controls(section, run) {
  const form = section.querySelector("form.filters");
  const states = [...new Set(run.trials.status)];
  const boxes = states.map((state) => `<label><input type="checkbox" name="status" value="${safe(state)}" checked> ${safe(state)}</label>`).join("");
  const params = Object.keys(run.params).map((name) => `<option>${safe(name)}</option>`).join("");
  form.innerHTML = `<label>figure <select name="metric"><option>accuracy</option><option>loss</option></select></label>
    ${params && `<label>against <select name="param">${params}</select></label>`}${boxes}<input type="search" name="filter" aria-label="filter" placeholder="filter: ${safe(example(run))} status=completed"><span class="shown" role="status"></span>`;
  form.addEventListener("change", () => draw(section));
  form.addEventListener("input", ({ target }) => target.name === "filter" && draw(section));
  form.addEventListener("submit", (event) => event.preventDefault());
}

async function openTrials(section) {
  const run = withCurves(await unpack(section.querySelector("script.packed").textContent));
  sortable(section, run);
  controls(section, run);
  section.querySelector(".since").textContent = sinceWhen(run);
  section.querySelector("[data-chart=timeline]").style.height = `${run.timeline.lanes.length * LANE + 120}px`;
  const charts = Object.fromEntries([...section.querySelectorAll(".chart")].map((box) => [box.dataset.chart, echarts.init(box)]));
  drawn.set(section, { run, charts, draw: () => draw(section) });
}
