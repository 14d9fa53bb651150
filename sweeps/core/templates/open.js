// What a run's section draws is unpacked when it comes into view.
const OPENERS = { charts: openTrials, confusion: openConfusion, study: openStudy };

async function openOnce(section) {
  if (drawn.has(section)) return;
  drawn.set(section, null);
  await OPENERS[section.classList[0]](section);
  drawn.get(section).draw();
}

const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    seen.unobserve(target);
    openOnce(target);
  }
}, { rootMargin: "400px" });
const unopened = document.querySelectorAll(Object.keys(OPENERS).map((name) => `.${name}`).join());
for (const section of unopened) seen.observe(section);
const all = (act) => drawn.forEach((one) => one && act(one));
addEventListener("resize", () => all(({ charts }) => Object.values(charts).forEach((chart) => chart.resize())));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => all(({ draw }) => draw()));
