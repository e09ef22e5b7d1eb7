// Miner by month for any field: newest month first, a link for each month, filters, CSV of what is seen.

import { get } from "../data";
import { h, put } from "../dom";
import { num, words } from "../format";
import { panel } from "../panels";

interface Square { figure: string; value: number; printed: number; source_kind: string; source: string }
interface Grid { field: string; unit: string; meaning: string; view: string; months: string[]; lines: { issuer: string; last: string; behind: number; cells: Record<string, Square> }[]; coverage: Record<string, string> }

const FIELDS = [
  "btc_produced", "avg_btc_per_day", "btc_held_end", "btc_sold", "restricted_or_pledged_btc", "sale_proceeds_usd", "avg_sale_price_usd", "deployed_ehs", "avg_operating_ehs", "efficiency_j_th",
  "power_cost_usd_per_kwh", "energy_cost_usd_per_btc", "cash_cost_usd_per_btc", "revenue_usd", "deployed_miners", "blocks_won",
];

export function gridPanel(): { el: HTMLElement; load: () => Promise<void> } {
  const field = h("select", { "aria-label": "Field" }, FIELDS.map((f) => h("option", { value: f }, words(f))));
  const view = h("select", { "aria-label": "Values or changes" }, [["value", "as printed"], ["month", "month on month, %"], ["year", "year on year, %"]].map(([v, t]) => h("option", { value: v! }, t)));
  const miners = h("input", { placeholder: "all miners; or CANG, RIOT", "aria-label": "Miners" }), since = h("input", { placeholder: "from YYYY-MM", "aria-label": "First month", maxlength: "7" });
  const file = h("a", { download: true }, "CSV of what is seen"), scroll = h("div", { class: "scroll long" });
  const made = panel("The sector", "Newest month first; an empty cell is not in the book", null, "full", h("div", { class: "filters" }, field, view, miners, since, file), scroll);

  const load = async (): Promise<void> => {
    const asked = new URLSearchParams({ field: field.value, view: view.value });
    for (const one of miners.value.split(/[\s,]+/).filter(Boolean)) asked.append("issuer", one);
    if (since.value.trim()) asked.set("since", since.value.trim());
    file.setAttribute("href", `/api/disclosures/grid.csv?${asked}`);
    try {
      const g = await get<Grid>(`/api/disclosures/grid?${asked}`);
      put(made.note, `${g.meaning}, ${g.unit}. Newest month first; an empty cell is not in the book.`);
      put(scroll, h("table", { class: "peers" },
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Miner"), g.months.map((m) => h("th", { scope: "col" }, m, h("small", {}, g.coverage[m] ?? ""))))),
        h("tbody", {}, g.lines.map((l) => h("tr", {}, h("th", { scope: "row" }, l.issuer, h("small", {}, l.behind ? `${l.behind} months behind` : "newest")),
          g.months.map((m) => {
            const c = l.cells[m];
            return h("td", { class: c ? "n" : "n empty" }, c ? h("a", { href: `#${c.figure}`, title: `${c.source_kind}: ${c.source}` }, num(c.value, g.unit === "%" ? 1 : Number.isInteger(c.value) ? 0 : 2)) : "");
          }))))));
    } catch (error) {
      put(scroll, h("p", { class: "bad" }, (error as Error).message));
    }
  };
  for (const el of [field, view, miners, since]) el.addEventListener("change", () => void load());
  return { el: made.el, load };
}
