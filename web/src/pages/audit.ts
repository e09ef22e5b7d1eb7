// Who did what, when, to what, from where: filtered, and as CSV.

import { get } from "../data";
import { h, headRow, put } from "../dom";
import { RECORDS, tabs } from "../tabs";

interface Action { seq: number; record: { at: string; known_at: string; by: string; what: string; target: string; detail: string; source: string } }

export function auditPage(root: HTMLElement): () => void {
  document.title = "Audit · Tieline";
  const query = new URLSearchParams(location.search);
  const input = (id: string, label: string, about: string): [HTMLElement, HTMLInputElement] => {
    const el = h("input", { id, value: query.get(id) ?? "", placeholder: about, autocomplete: "off", spellcheck: "false" });
    return [h("label", { for: id }, label), el];
  };
  const by = input("by", "Who", "anybody"), what = input("what", "What", "anything"), target = input("target", "To what", "anything");
  const save = h("button", { class: "button plain", type: "button" }, "CSV");
  const form = h("form", { class: "filters", role: "search" }, by, what, target, h("button", { class: "button", type: "submit" }, "Show"), save);
  const body = h("tbody", {}), count = h("p", { class: "note", role: "status" });
  put(root, h("div", { class: "page-head" }, h("h1", {}, "Audit"), h("p", { class: "note" }, "Every command and every change of an account or a key, newest first. Times are UTC."), tabs("Records", RECORDS, "/audit")), form,
    h("section", { class: "panel" }, count, h("div", { class: "scroll" }, h("table", { class: "audit" }, headRow(["When", "Who", "What", "To what", "In detail", ""]), body))));
  let all: Action[] = [], more = false;
  const shown = (): Action[] => {
    const wanted = [by, what, target].map(([, el]) => el.value.trim().toLowerCase());
    return all.filter(({ record: r }) => [r.by, r.what, r.target].every((text, i) => text.toLowerCase().includes(wanted[i]!)));
  };
  const show = (): void => {
    const list = shown();
    put(count, `${list.length} of the newest ${all.length}${more ? "; older ones are under Records" : ""}`);
    put(body, list.map(({ seq, record: r }) => h("tr", {}, h("td", {}, h("time", { datetime: r.known_at }, r.known_at.slice(0, 19).replace("T", " "))), h("td", {}, r.by), h("td", {}, r.what), h("td", {}, r.target), h("td", { class: "detail" }, r.detail), h("td", {}, h("a", { class: "ref", href: `/records/${seq}`, "data-nav": true }, `#${seq}`)))));
  };
  form.addEventListener("submit", (e) => {
    e.preventDefault();
    history.replaceState(null, "", `/audit?${new URLSearchParams([by, what, target].map(([, el]) => [el.id, el.value]))}`);
    show();
  });
  save.addEventListener("click", () => {
    const rows = [["at", "by", "what", "target", "detail", "record"], ...shown().map(({ seq, record: r }) => [r.known_at, r.by, r.what, r.target, r.detail, String(seq)])];
    const text = rows.map((row) => row.map(cell).join(",")).join("\r\n");
    const link = h("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: "audit.csv" });
    link.click();
    URL.revokeObjectURL(link.href);
  });
  get<{ records: Action[]; more?: boolean }>("/api/records?stream=Action&limit=500")
    .then((found) => {
      all = found.records;
      more = found.more ?? all.length >= 500;
      show();
    })
    .catch((error: Error) => put(count, error.message));
  return () => undefined;
}

/** A cell that begins with a sign would be a formula in a spreadsheet. */
const cell = (text: string): string => `"${(/^[=+\-@]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
