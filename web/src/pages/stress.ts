// The treasury under stress: each loan after given falls of the price, and the price's own hours played from each of
// them on, how many lead to a call or a liquidation, and how soon.

import { get } from "../data";
import { h, put, type Child } from "../dom";
import { DASH, num, stamp } from "../format";
import { btc, entriesOf, failed, panel, part, percent, recordsOf, table, usd } from "./figures";

interface Shocked { loan_id: string; shock: string; price: string; ltv: string | null; state: string; cure_btc: string | null; cure_cash: string | null }
interface Played { loan_id: string; level: string; starts: number; reached: number; soonest_h: number | null; median_h: number | null }
interface Stress {
  price: string | null; falls: string[]; days: number; shocks: Shocked[]; played: Played[]; hours: number; since: number | null; why_not: string | null;
  cure_hours: Record<string, number | null>;
}

const STATES: Record<string, string> = { called: "more is called for", liquidated: "coins are sold", kept: "stands", "not known": "not known: no level is" };
const hours = (n: number | null): string => (n === null ? DASH : `${num(n, 0)} h`);

export function stressPanel(price: string): HTMLElement {
  const falls = h("input", { id: "shocks", size: "24", placeholder: "-10, -20, -30, -50", autocomplete: "off" });
  const days = h("input", { id: "days", inputmode: "numeric", size: "5", placeholder: "7", autocomplete: "off" });
  const form = h("form", { class: "filters" }, h("label", { for: "shocks" }, "Changes of the price, %"), falls, h("label", { for: "days" }, "Days played"), days, h("button", { class: "button", type: "submit" }, "Play"));
  const out = h("div", {}, h("p", { class: "wait" }, "Reading…"));
  const load = (): void => {
    const asked = new URLSearchParams([["price", price], ["shocks", falls.value.trim()], ["days", days.value.trim()]].filter(([, v]) => v) as string[][]);
    get<Stress>(`/api/treasury/stress?${asked}`).then((s) => put(out, stressed(s))).catch((error: Error) => failed(out, error));
  };
  form.addEventListener("submit", (e) => {
    e.preventDefault();
    load();
  });
  load();
  return panel("Stress", form, out);
}

function stressed(s: Stress): Child[] {
  const loan = (id: string): Child => entriesOf(`Liabilities:Loans:${part(id)}`, id);
  const prices = (text: string): Child => recordsOf("Prices", [{ stream: "NetworkTick", since: s.since ?? undefined }], text);
  const share = (p: Played): string => `${num(p.reached, 0)} (${num((100 * p.reached) / Math.max(1, p.starts), 1)} %)`;
  return [
    s.shocks.length ? table(["Loan", "Change", "Price then", "LTV then", "What follows", "Cured with coins", "or with cash"], s.shocks.map((one) => [
      loan(one.loan_id), `${num(Number(one.shock) * 100, 1)} %`, usd(one.price), percent(one.ltv), STATES[one.state] ?? one.state,
      one.cure_btc === null ? DASH : btc(one.cure_btc), usd(one.cure_cash)])) : h("p", { class: "wait" }, s.price === null ? "No price is known yet: give one above." : "No loan is in the books."),
    h("p", { class: "note" }, "Played over ", prices(`${num(s.hours, 0)} hours of prices that were told here`), s.since === null ? "" : ` since ${stamp(s.since)}`,
      `: from each hour on for ${s.days} ${s.days === 1 ? "day" : "days"}, scaled to the price now.`),
    s.why_not ? h("p", { class: "wait" }, `Not played: ${s.why_not}. A longer history: tieline treasury stress --history FILE.`)
      : s.played.length ? table(["Loan", "Level", "Hours begun from", "Reach it", "Soonest after", "Half of them after", "To cure a call"], s.played.map((p) => [
        loan(p.loan_id), p.level, prices(num(p.starts, 0)), share(p), hours(p.soonest_h), hours(p.median_h), p.level === "call" ? hours(s.cure_hours[p.loan_id] ?? null) : DASH]))
        : s.shocks.length ? h("p", { class: "wait" }, "No level of these loans is known: nothing can be reached.") : null,
  ];
}
