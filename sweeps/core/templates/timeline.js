// When and where trials trained: a lane a place on a machine, a bar a trial's work there; a diamond where it was begun again.
const LANE = 22;
const spoken = (seconds) => {
  const [unit, word] = seconds < 60 ? [1, "s"] : seconds < 3600 ? [60, "min"] : [3600, "h"];
  return `${+(seconds / unit).toPrecision(3)} ${word}`;
};

function timelineOf(run, trials, colour, width) {
  const { lanes, segments, repeated, pauses } = run.timeline, shownTrials = new Set(trials), sharing = new Set(run.sharing);
  const end = segments.reduce((most, segment) => Math.max(most, segment[5]), 0);
  const [unit, word] = end < 300 ? [1, "s"] : end < 18000 ? [60, "min"] : [3600, "h"];
  const kind = (trial) => (sharing.has(run.trials.trial_id[trial]) ? "shared" : "own");
  const fill = { own: colour.best, shared: colour.shared };
  const bar = (at, api) => {
    const [x, y] = api.coord([api.value(1), api.value(0)]), [right] = api.coord([api.value(2), api.value(0)]), high = api.size([0, 1])[1] * 0.7;
    // A hair's breadth between two trials, and never nothing.
    return { type: "rect", shape: { x, y: y - high / 2, width: Math.max(right - x - 0.5, 1), height: high, r: 2 }, style: { fill: api.visual("color"), opacity: 0.75 } };
  };
  const margin = Math.min(100, width / 5);
  const bars = (name, wanted) => ({
    name, type: "custom", encode: { x: [1, 2], y: 0 }, itemStyle: { color: fill[wanted] }, renderItem: bar, progressive: 0,
    data: segments.filter((segment) => shownTrials.has(segment[1]) && kind(segment[1]) === wanted)
      .map(([lane, trial, first, last, from, to, again, pid]) => ({ value: [lane, from / unit, to / unit], trial, first, last, again, pid })),
    tooltip: { formatter: ({ data }) => {
      const pupils = run.trials.trial_id.filter((_, trial) => run.trials.shared_with[trial] === run.trials.trial_id[data.trial]);
      const shared = pupils.length ? `<br>also the training of ${safe(pupils.slice(0, 5).join(", "))}${pupils.length > 5 ? ` and ${pupils.length - 5} more` : ""}` : "";
      const on = `${safe(lanes[data.value[0]])}${data.pid ? `, process ${data.pid}` : ""}`;
      return `${told(run, data.trial)}<br>epochs ${data.first} to ${data.last} on ${on}<br>${spoken((data.value[2] - data.value[1]) * unit)}${data.again ? "; begun again here" : ""}${shared}`;
    } },
  });
  const diamonds = segments.filter((segment) => segment[6] && shownTrials.has(segment[1]));
  return {
    ...frame(colour), grid: { left: margin, right: 20, top: 56, bottom: 46 },
    legend: { type: "scroll", top: 0, left: "left", textStyle: { color: colour.soft } },
    xAxis: axis(`time, ${word}`, colour, { type: "value", min: 0, scale: false, max: end / unit || 1, axisLabel: { color: colour.soft, hideOverlap: true, showMaxLabel: false } }),
    yAxis: axis("", colour, { type: "category", inverse: true, data: lanes.map((node, lane) => `${lane} ${node}`), axisLabel: { color: colour.soft, width: margin - 12, overflow: "truncate", interval: 0, formatter: (value) => value.slice(value.indexOf(" ") + 1) } }),
    // What is not there needs no word in the legend.
    series: [
      bars("training", "own"), bars("training that others share", "shared"),
      { name: "epoch done again", type: "custom", encode: { x: [1, 2], y: 0 }, itemStyle: { color: colour.train }, renderItem: bar, z: 3,
        data: repeated.filter(([, trial]) => shownTrials.has(trial)).map(([lane, trial, epoch, from, to]) => ({ value: [lane, from / unit, to / unit], trial, epoch })),
        tooltip: { formatter: ({ data }) => `${told(run, data.trial)}<br>epoch ${data.epoch}, done again after an interruption` } },
      { name: "begun again", type: "scatter", symbol: "diamond", symbolSize: 10, z: 4, itemStyle: { color: colour.train }, data: diamonds.map(([lane, trial, first, , from]) => ({ value: [from / unit, lane], trial, first })),
        tooltip: { formatter: ({ data }) => `${told(run, data.trial)}<br>begun again at epoch ${data.first}` },
        markLine: { symbol: "none", silent: true, lineStyle: { color: colour.soft, type: "dotted" }, label: { color: colour.soft, position: "start", rotate: 0, distance: 2, formatter: (at) => at.name }, data: pauses.map(([at, seconds]) => ({ xAxis: at / unit, name: `pause of ${spoken(seconds)}` })) } },
    ].filter(({ name, data }) => data.length || name === "training" || (name === "begun again" && pauses.length)),
  };
}

// In words, below its title: when it was.
function sinceWhen({ timeline: { began, pauses } }) {
  if (began === null) return "";
  const moment = new Date(began * 1000).toISOString().replace("T", " ").slice(0, 19);
  return ` Time is since the first epoch began, ${moment} UTC${pauses.length ? ", without long pauses" : ""}.`;
}
