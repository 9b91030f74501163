"use strict";
// Shows the entries of the list, and the sections that they lead to, that have every word which is typed.
const field = document.getElementById("search");
const entries = Array.from(document.querySelectorAll("nav li[data-text]"));
const words = () => field.value.toLowerCase().split(/\s+/).filter(Boolean);
field.addEventListener("input", () => {
  const wanted = words();
  for (const entry of entries) {
    const fits = wanted.every((word) => entry.dataset.text.includes(word));
    entry.hidden = !fits;
    const section = document.getElementById(entry.dataset.section || "");
    if (section) section.hidden = !fits;
  }
  for (const group of document.querySelectorAll("nav section, main .group")) {
    group.hidden = !group.querySelector("[data-text]:not([hidden]), .operation:not([hidden]), .schema:not([hidden])");
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== field) {
    event.preventDefault();
    field.focus();
  }
});
