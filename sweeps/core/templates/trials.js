// The table of a run's trials: those that the filters leave, in the order of the header that was clicked last.
// More would take longer to lay out than all charts; sorting and filters reach the others.
const MOST_ROWS = 200;

// What a word of the filter asks of a trial: `dropout<0.3`, `status=failed`, or a text that is anywhere in its row.
function asks(word, columns) {
  const found = /^(.+?)(<=|>=|=|<|>)(.+)$/.exec(word), name = found && Object.keys(columns).find((title) => title.replaceAll(" ", "_") === found[1]);
  if (!name) return (trial) => Object.values(columns).some((values) => String(values[trial] ?? "").includes(word));
  const [, , sign, text] = found, limit = Number(text);
  return (trial) => {
    const value = columns[name][trial];
    if (value == null) return false;
    if (sign === "=") return String(value) === text || (typeof value === "number" && value === limit);
    return typeof value === "number" && { "<": value < limit, ">": value > limit, "<=": value <= limit, ">=": value >= limit }[sign];
  };
}

function columnsOf(run) {
  const { trial_id: trial, status, val_accuracy, val_loss, train_accuracy, best_epoch, epochs_trained, train_seconds, seed, repeat_of, final_of, shared_with, restarts, error } = run.trials;
  const columns = { trial, status, ...run.params, "validation accuracy": val_accuracy, "validation loss": val_loss, "train accuracy": train_accuracy, "best epoch": best_epoch, "epochs trained": epochs_trained, "train s": train_seconds };
  const sometimes = { seed, "repeat of": repeat_of, "final fit of": final_of, "shared with": shared_with, restarts, error };
  for (const [title, values] of Object.entries(sometimes)) {
    if (title === "seed" ? new Set(values).size > 1 : values.some((value) => value)) columns[title] = values;
  }
  return columns;
}

const matching = (run, text) => {
  const asked = text.trim().split(/\s+/).filter(Boolean).map((word) => asks(word, run.columns));
  return (trial) => asked.every((ask) => ask(trial));
};

function table(section, run, trials, best) {
  const found = section.querySelector("table.trials"), titles = Object.keys(run.columns), { by, sign } = run.order;
  const numbers = titles.map((title) => title !== "trial" && run.columns[title].every((value) => value == null || typeof value === "number"));
  found.tHead.innerHTML = `<tr>${titles.map((title, n) => `<th scope="col"${numbers[n] ? ' class="n"' : ""}${title === by ? ` aria-sort="${sign > 0 ? "ascending" : "descending"}"` : ""}><button type="button" data-column="${safe(title)}">${safe(title)}</button></th>`).join("")}</tr>`;
  const values = run.columns[by];
  const compared = (a, b) => (values[a] == null || values[b] == null ? (values[a] == null) - (values[b] == null) : sign * (typeof values[a] === "number" ? values[a] - values[b] : String(values[a]).localeCompare(String(values[b]), undefined, { numeric: true })));
  const rows = [...trials].sort(compared).slice(0, MOST_ROWS);
  const cell = (title, n, trial) => {
    const value = run.columns[title][trial];
    return `<td class="${numbers[n] ? "n" : title === "error" ? "error" : ""}">${typeof value === "number" ? `<data value="${value}">${safe(shown(value))}</data>` : safe(value ?? "-")}</td>`;
  };
  found.tBodies[0].innerHTML = rows.map((trial) => `<tr${trial === best ? ' class="best"' : ""}>${titles.map((title, n) => cell(title, n, trial)).join("")}</tr>`).join("");
  const number = (count) => count.toLocaleString("en");
  section.querySelector(".told").textContent = `A click on a header sorts. ${trials.length > MOST_ROWS ? `The first ${number(MOST_ROWS)} of ${number(trials.length)}. ` : ""}The best by validation stands out.`;
}

function sortable(section, run) {
  run.columns = columnsOf(run);
  run.order = { by: "validation accuracy", sign: -1 };
  section.querySelector("table.trials").tHead.addEventListener("click", ({ target }) => {
    const by = target.dataset.column;
    if (!by) return;
    run.order = { by, sign: run.order.by === by ? -run.order.sign : 1 };
    draw(section);
  });
}
