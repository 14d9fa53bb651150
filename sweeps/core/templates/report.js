// A click on a header sorts by that column: numbers by value, names by letters; again: the other way round.
for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("thead th").forEach((header, column) => {
    header.addEventListener("click", () => {
      const sign = header.ariaSort === "ascending" ? -1 : 1;
      for (const other of table.querySelectorAll("thead th")) other.ariaSort = null;
      header.ariaSort = sign === 1 ? "ascending" : "descending";
      const value = (row) => row.cells[column].querySelector("data")?.value ?? row.cells[column].textContent;
      const body = table.tBodies[0];
      const rows = [...body.rows].sort((a, b) => sign * value(a).localeCompare(value(b), undefined, { numeric: true }));
      if (header.classList.contains("n")) rows.sort((a, b) => sign * (Number(value(a)) - Number(value(b))));
      body.append(...rows);
    });
  });
}
