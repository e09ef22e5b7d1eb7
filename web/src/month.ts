// The running month from the books: each figure with how it was computed and the records it is a fold of.

import type { Figure, Month } from "./data";
import { h, on, patch } from "./dom";
import { openRecords } from "./drawer";
import { count, DASH, day, num } from "./format";

const NAMES: Record<string, string> = {
  bitcoin_produced: "Bitcoin produced", bitcoin_per_day: "Per day", bitcoin_sold: "Bitcoin sold", bitcoin_pledged: "Bitcoin pledged", bitcoin_free: "Bitcoin unpledged", bitcoin_held: "Bitcoin held",
  hashrate_deployed: "Hashrate deployed", hashrate_operating: "Hashrate operating, mean", chain_expected_bitcoin: "Expected from the chain",
  produced_over_expected: "Produced / expected", energy_mining: "Energy, mining", energy_inference: "Energy, inference", energy_auxiliary: "Energy, auxiliary",
  power_cost_mining: "Power cost of mining", power_cost_per_bitcoin: "Power per bitcoin", inference_tokens: "Tokens served", inference_billed: "Inference billed", cash: "Cash",
  curtailed_economic: "Curtailed by price", curtailed_commitment: "Curtailed by promises", curtailed_fault: "Short by faults", curtailed_weather: "Short by heat",
  curtailed_order: "Curtailed by orders", curtailed_override: "Curtailed by operators", curtailed_none: "Short, no cause",
  bitcoin_lost_economic: "Not earned: price", bitcoin_lost_commitment: "Not earned: promises", bitcoin_lost_fault: "Not earned: faults", bitcoin_lost_weather: "Not earned: heat",
  bitcoin_lost_order: "Not earned: orders", bitcoin_lost_override: "Not earned: operators", bitcoin_lost_none: "Not earned, no cause",
  grid_paid: "Paid for reserves", grid_penalties: "Grid penalties", grid_missed: "Missed of promises",
};
const STREAMS = ["Payout", "PowerBill", "Trade", "Usage", "Sample", "NetworkTick", "Shortfall", "Performance"];

export function monthTable(el: HTMLElement, month: Month | null): void {
  if (!month) {
    patch(el, h("p", { class: "wait" }, "The books are being read…"));
    return;
  }
  patch(el,
    h("p", { class: "note" }, `${month.month}, ${day(month.start)} to ${day(month.end)}${month.complete ? "" : ", running"}`, month.simulated ? h("span", { class: "tag kind-simulated" }, "simulated pool and bills") : null),
    h("ul", { class: "figures" }, month.figures.map((f) => cell(f, month))));
}

function cell(f: Figure, month: Month): HTMLElement {
  const places = f.unit === "BTC" ? 3 : f.unit === "BTC/day" ? 2 : f.unit === "" ? 4 : f.unit === "USD" || f.unit === "USD/BTC" ? (Math.abs(Number(f.value ?? 0)) < 1000 ? 2 : 0) : f.unit === "tokens" ? 0 : f.unit === "MWh" ? 0 : 2;
  const name = h("button", { type: "button", class: "quiet name", title: `${f.how}. Exactly ${f.value ?? "not known"} ${f.unit}; a fold of ${f.count} records.` }, NAMES[f.name] ?? f.name.replace(/_/g, " "));
  const streams = STREAMS.filter((s) => f.records.includes(s));
  on(name, "click", () => openRecords(NAMES[f.name] ?? f.name, (streams.length ? streams : ["Payout", "PowerBill"]).map((stream) => ({ stream, since: month.start, until: month.end + 1 }))));
  return h("li", { "data-key": f.name }, h("p", {}, name), h("p", { class: "amount" }, h("b", {}, f.value === null ? DASH : num(Number(f.value), places)), ` ${f.unit}`), h("small", {}, f.how, f.count ? ` · ${count(f.count, f.records === "fleet" ? "site" : f.records === "Entry" ? "entry" : "record", f.records === "Entry" ? "entries" : undefined)}` : ""));
}
