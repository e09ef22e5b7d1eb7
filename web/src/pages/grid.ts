// Miner by month for any field: newest month first, a link for each month, filters, a chart and a CSV of what is seen.

import { get } from "../data";
import { h, put } from "../dom";
import { words } from "../format";
import { panel } from "../panels";
import { monthLines } from "./lines";

interface Square { figure: string; value: number; printed: number; source_kind: string; source: string }
interface Grid { field: string; unit: string; meaning: string; view: string; months: string[]; lines: { issuer: string; last: string; behind: number; cells: Record<string, Square> }[]; coverage: Record<string, string> }

const FIELDS = [
  "btc_produced", "avg_btc_per_day", "btc_held_end", "btc_sold", "restricted_or_pledged_btc", "sale_proceeds_usd", "avg_sale_price_usd", "deployed_ehs", "avg_operating_ehs", "efficiency_j_th",
  "power_cost_usd_per_kwh", "energy_cost_usd_per_btc", "cash_cost_usd_per_btc", "revenue_usd", "deployed_miners", "blocks_won",
  "btc_purchased", "free_btc", "lent_btc", "ytd_btc", "hosted_btc_customers", "managed_ehs", "self_owned_ehs", "operating_month_end_ehs", "all_in_cost_usd_per_btc", "revenue_usd_per_btc",
  "power_credits_usd", "total_power_credits_usd", "fee_share_pct", "share_of_rewards_pct", "capex_usd", "market_cap_usd",
];

export function gridPanel(): { el: HTMLElement; load: () => Promise<void>; end: () => void } {
  const field = h("select", { "aria-label": "Field" }, FIELDS.map((f) => h("option", { value: f }, words(f))));
  const view = h("select", { "aria-label": "Values or changes" }, [["value", "as printed"], ["month", "month on month, %"], ["year", "year on year, %"]].map(([v, t]) => h("option", { value: v! }, t)));
  const miners = h("input", { placeholder: "all miners; or CANG, RIOT", "aria-label": "Miners" }), since = h("input", { placeholder: "from YYYY-MM", "aria-label": "First month", maxlength: "7" });
  const file = h("a", { download: true }, "CSV of what is seen"), scroll = h("div", { class: "scroll long" });
  const plot = h("div", { class: "plot tall", role: "img", "aria-label": "The field by month" });
  let chart: import("../chart").Chart | null = null, ended = false;
  const draw = async (g: Grid): Promise<void> => {
    const lib = await import("../chart");
    if (ended) return;
    chart ??= new lib.Chart(plot);
    const series = g.lines.map((l) => [l.issuer, g.months.filter((m) => l.cells[m]).map((m) => [m, l.cells[m]!.value] as [string, number]).reverse()] as const);
    monthLines(lib, chart, Object.fromEntries(series), g.lines[0]?.issuer ?? "", g.unit === "%" || g.unit === "J/TH");
  };
  const made = panel("The sector", "Newest month first; an empty cell is not in the book", null, "full", h("div", { class: "filters" }, field, view, miners, since, file), plot, scroll);

  let asks = 0;
  const load = async (): Promise<void> => {
    const mine = ++asks; // an answer to an earlier question may come later
    const asked = new URLSearchParams({ field: field.value, view: view.value });
    for (const one of miners.value.split(/[\s,]+/).filter(Boolean)) asked.append("issuer", one);
    if (since.value.trim()) asked.set("since", since.value.trim());
    file.setAttribute("href", `/api/disclosures/grid.csv?${asked}`);
    try {
      const g = await get<Grid>(`/api/disclosures/grid?${asked}`);
      if (mine !== asks) return;
      put(made.note, `${g.meaning}, ${g.unit}. Newest month first; an empty cell is not in the book.`);
      put(scroll, h("table", { class: "peers" },
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Miner"), g.months.map((m) => h("th", { scope: "col" }, m, h("small", {}, g.coverage[m] ?? ""))))),
        h("tbody", {}, g.lines.map((l) => h("tr", {}, h("th", { scope: "row" }, l.issuer, h("small", {}, l.behind ? `${l.behind} months behind` : "newest")),
          g.months.map((m) => {
            const c = l.cells[m];
            return h("td", { class: c ? "n" : "n empty" }, c ? h("a", { href: `#${c.figure}`, title: `${c.source_kind}: ${c.source}` }, c.value.toLocaleString("en-US", { maximumFractionDigits: 4 })) : "");
          }))))));
      plot.hidden = g.lines.length === 0;
      if (!plot.hidden) void draw(g);
    } catch (error) {
      if (mine === asks) put(scroll, h("p", { class: "bad" }, (error as Error).message));
    }
  };
  for (const el of [field, view, miners, since]) el.addEventListener("change", () => void load());
  return { el: made.el, load, end: () => { ended = true; chart?.dispose(); } };
}
