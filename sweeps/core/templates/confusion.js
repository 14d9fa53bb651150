// The confusion matrix of a run's best model: a row a class, as parts of its images.
const FEW = 30;

function confusion({ names, cells }, colour) {
  const support = names.map(() => 0), dense = names.length > FEW;
  const below = names.every((name) => name.length < 5) ? 50 : 100;
  for (const [own, , images] of cells) support[own] += images;
  const axisOf = (title, more) => axis(title, colour, {
    type: "category", data: names, splitLine: { show: false }, axisTick: { show: false },
    axisLabel: { color: colour.soft, hideOverlap: true, width: 90, overflow: "truncate", ...(more.rotate && { rotate: more.rotate }) }, ...more.axis,
  });
  // Of many classes the labels can be read in a part of them.
  const zoom = (dimension, place) => ({ type: "slider", ...dimension, ...place, brushSelect: false, showDetail: false, filterMode: "filter", borderColor: colour.line, fillerColor: colour.line, handleStyle: { color: colour.soft } });
  return {
    ...frame(colour), grid: { left: 100, right: dense ? 44 : 12, top: 8, bottom: dense ? 30 + below : below },
    xAxis: axisOf("taken for", { rotate: names.length > 5 ? 45 : 0, axis: { nameGap: below - 20 } }),
    yAxis: axisOf("", { axis: { inverse: true } }),
    // By the root, so that a few images are seen, too.
    visualMap: { show: false, dimension: 3, min: 0, max: 1, inRange: { color: [colour.page, colour.best] } },
    dataZoom: dense ? [zoom({ xAxisIndex: 0 }, { bottom: 4, height: 18 }), zoom({ yAxisIndex: 0 }, { right: 4, width: 18 })] : [],
    series: [{
      name: "confusion", type: "heatmap", progressive: 0, data: cells.map(([own, predicted, images]) => ({ value: [predicted, own, images / support[own], Math.sqrt(images / support[own])], images, label: { color: images > support[own] / 5 ? colour.page : colour.text } })),
      label: { show: names.length <= 15, formatter: (at) => String(at.data.images), fontSize: 11 },
      itemStyle: { borderColor: colour.page, borderWidth: dense ? 0 : 1 },
      tooltip: { formatter: (at) => `${safe(names[at.value[1]])}, taken for ${safe(names[at.value[0]])}: ${at.data.images} of ${support[at.value[1]]} images (${shown(at.value[2])})` },
    }],
  };
}

async function openConfusion(section) {
  const found = await unpack(section.querySelector("script.packed").textContent);
  const chart = echarts.init(section.querySelector(".chart"));
  drawn.set(section, { charts: { confusion: chart }, draw: () => chart.setOption(confusion(found, colours()), true) });
}
