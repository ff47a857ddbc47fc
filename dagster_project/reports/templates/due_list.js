"use strict";
// Searches the rows of all sections, and sorts a section by the column that is chosen.
(() => {
  const tools = document.querySelector("[data-search]");
  const field = tools.querySelector("input"), found = tools.querySelector("output");
  const tables = [...document.querySelectorAll("table[data-list]")];
  // A patient is a row, and the reason below it goes with it.
  const groups = (table) => [...table.tBodies];
  const text = (node) => node.textContent.toLowerCase();

  function search() {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    for (const table of tables) {
      for (const body of groups(table)) {
        body.hidden = !words.every((word) => text(body).includes(word));
        left += body.hidden ? 0 : 1;
      }
    }
    found.textContent = left;
  }

  function sort(table, button) {
    const header = button.closest("th"), column = header.cellIndex;
    const down = header.getAttribute("aria-sort") === "ascending";
    const value = (body) => body.rows[0].cells[column].dataset.value ?? text(body.rows[0].cells[column]).trim();
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return x === y ? 0 : x === "" ? 1 : -1;
      const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
      return down ? -order : order;
    };
    table.append(...groups(table).sort(compare));
    table.querySelectorAll("th[aria-sort]").forEach((th) => th.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
  }

  for (const table of tables) {
    for (const th of table.tHead.rows[0].cells) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...th.childNodes);
      th.append(button);
      button.addEventListener("click", () => sort(table, button));
    }
  }
  field.addEventListener("input", search);
  tools.hidden = false;
  search();
})();
