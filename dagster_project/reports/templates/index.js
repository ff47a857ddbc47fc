"use strict";
// Searches, filters and sorts the rows of the table. What is compared is read from it once.
(() => {
  const tools = document.querySelector("[data-tools]");
  if (!tools) return;
  const table = document.querySelector("table[data-list]"), body = table.tBodies[0];
  const field = tools.querySelector("input"), filters = [...tools.querySelectorAll("select")];
  const found = tools.querySelector("output");
  const chinese = document.getElementById("in-chinese");
  const lower = (node) => node.textContent.toLowerCase();
  const more = document.querySelector("[data-more]"), AT_FIRST = 100;
  let limit = AT_FIRST;
  let rows = [...body.rows].map((row) => ({ row, text: lower(row), words: new Set(row.dataset.words.split(" ")) }));

  function show() {
    const parts = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = filters.map((filter) => filter.value).filter(Boolean);
    let left = 0;
    for (const { row, text, words } of rows) {
      const fits = wanted.every((word) => words.has(word)) && parts.every((part) => text.includes(part));
      left += fits ? 1 : 0;
      const hidden = !fits || left > limit;
      if (row.hidden !== hidden) row.hidden = hidden;
    }
    found.textContent = left;
    more.hidden = left <= limit;
  }

  function begin() {
    limit = AT_FIRST;
    show();
  }

  function sort(header) {
    const column = header.cellIndex, down = header.getAttribute("aria-sort") === "ascending";
    const value = (row) => row.cells[column].dataset.value ?? lower(row.cells[column]).trim();
    const keyed = rows.map((item) => [value(item.row), item]);
    const order = new Intl.Collator("en", { numeric: true }).compare;
    keyed.sort(([a], [b]) => (a === "–") - (b === "–") || (down ? order(b, a) : order(a, b)));
    rows = keyed.map(([, item]) => item);
    show();
    body.append(...rows.map(({ row }) => row));
    table.querySelectorAll("th[aria-sort]").forEach((th) => th.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
  }

  function speak() {
    const language = chinese.checked ? "zh" : "en";
    for (const option of tools.querySelectorAll("option")) option.textContent = option.dataset[language];
  }

  for (const header of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => sort(header));
  }
  document.querySelectorAll("input[name=language]").forEach((input) => input.addEventListener("change", speak));
  tools.addEventListener("input", begin);
  tools.addEventListener("submit", (event) => event.preventDefault());
  tools.addEventListener("reset", () => setTimeout(begin));
  more.addEventListener("click", () => { limit = Infinity; show(); });
  addEventListener("beforeprint", () => { limit = Infinity; show(); });
  tools.hidden = false;
  speak();
  show();
})();
