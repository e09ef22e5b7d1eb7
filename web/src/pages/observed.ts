// What observing sites did by day, beside what the plans would have done.

import { get } from "../data";
import { h, headRow, put, type Child } from "../dom";
import { num } from "../format";
import { RECORDS, tabs } from "../tabs";

interface Day { site_id: string; day: string; hours: number; missing_hours: number; done_mwh: number; would_mwh: number; done_usd: number; would_usd: number; difference_usd: number }
interface Report { assumes: string; sites: string[]; days: Day[] }

export function observedPage(root: HTMLElement): () => void {
  document.title = "Observed · Tieline";
  const box = h("div", { class: "approvals" });
  const days = h("select", { id: "observed-days" }, [1, 7, 14, 31].map((n) => h("option", { value: n }, n === 1 ? "today" : `${n} days`)));
  days.value = new URLSearchParams(location.search).get("days") ?? "7";
  put(root, h("div", { class: "page-head" }, h("h1", {}, "Observed"), h("p", { class: "note" }, "Sites in observe are planned like any other, and nothing is sent to them: done, would have done, and the difference in USD net of power."), tabs("Records", RECORDS, "/observed"),
    h("div", { class: "filters" }, h("label", { for: "observed-days" }, "Days back"), days)), box);
  const load = (): void => void get<Report>(`/api/observed?days=${days.value}`).then((r) => put(box, shown(r))).catch((e: Error) => put(box, h("p", { class: "bad" }, e.message)));
  days.addEventListener("change", () => {
    history.replaceState(null, "", `/observed?days=${days.value}`);
    load();
  });
  load();
  return () => undefined;
}

const HEADS = ["Day", "Site", "Difference USD", "Done USD", "Would USD", "Done MWh", "Asked MWh", "Not known h"];

function row(d: Day): Child {
  const cells: Child[] = [d.day, h("a", { href: `/site/${d.site_id}`, "data-nav": true }, d.site_id), h("b", {}, num(d.difference_usd, 2)), num(d.done_usd, 2), num(d.would_usd, 2), num(d.done_mwh, 2), num(d.would_mwh, 2), num(d.missing_hours, 1)];
  return h("tr", { "data-key": `${d.day} ${d.site_id}` }, cells.map((cell, n) => h("td", { "data-label": HEADS[n] }, cell)));
}

function shown(r: Report): Child[] {
  if (!r.sites.length) return [h("section", { class: "panel" }, h("p", {}, h("b", {}, "No site observes.")), h("p", { class: "note" }, 'A site of which the file says mode = "observe" is reported here.'))];
  const more = r.days.reduce((n, d) => n + d.difference_usd, 0), missing = r.days.reduce((n, d) => n + d.missing_hours, 0);
  return [
    h("section", { class: "panel" }, h("p", { class: "big" }, h("span", { class: "value" }, `${more >= 0 ? "+" : ""}${num(more, 2)}`), h("span", { class: "unit" }, "USD net of power")),
      h("p", { class: "note" }, r.days.length ? `Following the plans would have ${more >= 0 ? "added" : "cost"} this. It ${r.assumes}.` : "No interval has been heard and planned yet; the first comes with the next five minutes."),
      missing ? h("p", { class: "note" }, `${num(missing, 1)} unit-hours are in no figure: no reading, price or hashprice.`) : null),
    r.days.length ? h("section", { class: "panel" }, h("div", { class: "scroll" }, h("table", { class: "money by-day" }, headRow(HEADS), h("tbody", {}, [...r.days].reverse().map(row))))) : null,
  ];
}
