// A study's experiments: what was measured beside what the report published.
function studyOf({ names, measured, deviation, published }, colour) {
  const bars = (name, data, color) => ({ name, type: "bar", data, itemStyle: { color }, barMaxWidth: 12, barGap: "10%", tooltip: { formatter: (at) => `${safe(at.name)}, ${name}: ${shown(at.value)}` } });
  const spread = names.map((name, n) => [n, measured[n] - deviation[n], measured[n] + deviation[n]]).filter(([n]) => deviation[n] != null);
  return {
    ...frame(colour), grid: { left: 150, right: 24, top: 36, bottom: 46 }, legend: { top: 0, textStyle: { color: colour.soft } },
    xAxis: axis("test accuracy", colour, { type: "value", min: 0, max: 1, scale: false }),
    yAxis: axis("", colour, { type: "category", data: names, inverse: true, axisLabel: { color: colour.soft, interval: 0, width: 140, overflow: "truncate" } }),
    series: [
      bars("measured", measured, colour.best),
      bars("published", published, colour.other),
      { name: "standard deviation", type: "custom", data: spread, encode: { x: [1, 2], y: 0 }, itemStyle: { color: colour.text }, z: 5,
        renderItem: (_, api) => {
          const [from, y] = api.coord([api.value(1), api.value(0)]), [to] = api.coord([api.value(2), api.value(0)]);
          // The upper of two bars, each 12 px at most.
          const at = y - Math.min(12, api.size([0, 1])[1] * 0.35) * 0.55;
          return { type: "line", shape: { x1: from, x2: to, y1: at, y2: at }, style: { stroke: colour.text, lineWidth: 2 } };
        },
        tooltip: { formatter: (at) => `${safe(names[at.value[0]])}: ${shown(measured[at.value[0]])} ± ${shown(deviation[at.value[0]])}` } },
    ],
  };
}

async function openStudy(section) {
  const found = await unpack(section.querySelector("script.packed").textContent), box = section.querySelector(".chart");
  box.style.height = `${found.names.length * 34 + 90}px`;
  const chart = echarts.init(box);
  drawn.set(section, { charts: { study: chart }, draw: () => chart.setOption(studyOf(found, colours()), true) });
}
