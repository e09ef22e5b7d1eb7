// Any record at its permanent address, and the streams to browse.

import { feed, get } from "../data";
import { h, put } from "../dom";
import { fill, recordItem, type Stored } from "../drawer";
import { RECORDS, tabs } from "../tabs";


export function recordPage(root: HTMLElement, seq: string): () => void {
  document.title = `Record ${seq} · Tieline`;
  const box = h("div", { class: "records" });
  const n = Number(seq);
  put(root, h("div", { class: "page-head" }, h("h1", {}, `Record ${seq}`), h("p", { class: "note" }, "Kept as it was told; a correction is a record of its own."),
    h("p", {}, n > 1 ? h("a", { href: `/records/${n - 1}`, "data-nav": true }, `← ${n - 1}`) : null, " ", h("a", { href: `/records/${n + 1}`, "data-nav": true }, `${n + 1} →`), " ", h("a", { href: "/records", "data-nav": true }, "All streams"))),
    h("section", { class: "panel" }, box));
  get<Stored>(`/api/records/${n}`)
    .then((r) => put(box, recordItem(r, true)))
    .catch((error: Error) => put(box, h("p", { class: "bad" }, error.message)));
  return () => undefined;
}

export function recordsPage(root: HTMLElement): () => void {
  document.title = "Records · Tieline";
  const query = new URLSearchParams(location.search);
  const stream = h("select", { id: "stream" }, (feed.overview?.fleet.streams ?? ["Plan"]).map((s) => h("option", { value: s, selected: (query.get("stream") ?? "Plan") === s }, s)));
  const subject = h("input", { id: "subject", value: query.get("subject") ?? "", placeholder: "any site, market, tenant…", autocomplete: "off", spellcheck: "false" });
  const limit = h("select", { id: "limit" }, ["60", "200", "500"].map((n) => h("option", {}, n)));
  const list = h("div", { class: "records", "aria-live": "polite" });
  const form = h("form", { class: "filters" }, h("label", { for: "stream" }, "Stream"), stream, h("label", { for: "subject" }, "About"), subject, h("label", { for: "limit" }, "Newest"), limit, h("button", { class: "button", type: "submit" }, "Show"));
  const show = (): void => {
    const q = new URLSearchParams({ stream: stream.value, ...(subject.value ? { subject: subject.value } : {}) });
    history.replaceState(null, "", `/records?${q}`);
    void fill(list, { stream: stream.value, subject: subject.value || undefined }, Number(limit.value));
  };
  form.addEventListener("submit", (e) => {
    e.preventDefault();
    show();
  });
  stream.addEventListener("change", show);
  put(root, h("div", { class: "page-head" }, h("h1", {}, "Records"), h("p", { class: "note" }, "Everything on these pages is a fold of these. Newest first, by the time they hold at."), tabs("Records", RECORDS, "/records")), form, h("section", { class: "panel" }, list));
  show();
  return () => undefined;
}
