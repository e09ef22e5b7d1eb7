// One page: what the fleet does now, why, and what it earns.

import { feed, type Overview } from "../data";
import { h, put } from "../dom";
import { AttentionStrip } from "../attention";
import { ChatBox } from "../chat";
import { Decisions } from "../decisions";
import { KeyNumbers } from "../keys";
import { FleetMap } from "../map";
import { monthTable } from "../month";
import { legend, panel } from "../panels";
import { ehsOf } from "../format";

export function overviewPage(root: HTMLElement, open: (path: string) => void): () => void {
  document.title = "Tieline";
  const attention = new AttentionStrip(), keys = new KeyNumbers(), map = new FleetMap(open), decisions = new Decisions(), chat = new ChatBox();
  const power = h("div", { class: "plot tall", role: "img", "aria-label": "Power by use over the last day" });
  const hash = h("div", { class: "plot", role: "img", "aria-label": "Hashrate over the last day" });
  const tokens = h("div", { class: "plot", role: "img", "aria-label": "Tokens per second over the last day" });
  const month = h("div", {});
  const prices = h("div", { class: "prices-slot" });
  const uses = legend([["mining", "mining"], ["inference", "inference"], ["aux", "auxiliary (cooling, fans)"], ["grid", "left to the grid"], ["limit", "interconnect limit"]]);
  const hashPanel = panel("Hashrate", "Operating under deployed", [{ stream: "Sample" }], "half-width", hash);
  put(root,
    h("h1", { class: "sr" }, "Overview"),
    attention.el,
    keys.el,
    h("div", { class: "layout" },
      panel("Fleet", "Where the megawatts are, and what they do now", [{ stream: "Sample" }, { stream: "Plan" }, { stream: "Outcome" }], "map-panel", map.el).el,
      panel("Decisions", "What changed, and why", [{ stream: "Plan" }, { stream: "Outcome" }, { stream: "Instruction" }, { stream: "Commitment" }, { stream: "Override" }, { stream: "Fault" }, { stream: "Action" }], "decisions-panel", decisions.el).el,
      panel("Power by use", "By 5-minute interval over one day, UTC; drawn by load, auxiliary apart", [{ stream: "Sample" }, { stream: "PowerBill" }, { stream: "Plan" }], "power-panel", uses, power).el,
      panel("Ask the fleet", "Through the gateway, as a tenant: admitted, routed, billed", [{ stream: "Usage" }, { stream: "ReplicaState" }], "chat-panel", chat.el).el,
      hashPanel.el,
      panel("Tokens per second", "Real tokens served and modelled load, apart", [{ stream: "Usage", name: "Usage (real)" }, { stream: "Sample", name: "Sample (modelled)" }], "half-width", tokens).el,
      panel("The month", "From the books", [{ stream: "Payout" }, { stream: "PowerBill" }, { stream: "Trade" }, { stream: "Usage" }], "full", month).el,
      panel("Prices against strikes", "USD/MWh, a day back and a day ahead (dashed). A rig group mines while the price is below its line; the band spans all of the market's groups", [{ stream: "PriceTick" }, { stream: "NetworkTick" }, { stream: "Plan" }], "prices-panel", prices).el));

  let disposeCharts: (() => void) | null = null, gone = false;
  let drawCharts: (o: Overview, fresh: Set<string>) => void = () => undefined;
  void Promise.all([import("../chart"), import("../timeline"), import("../prices")]).then(([chartLib, timeline, pricesLib]) => {
    if (gone) return;
    const p = new chartLib.Chart(power, "day"), e = new chartLib.Chart(hash, "day"), t = new chartLib.Chart(tokens, "day"), m = new pricesLib.Prices();
    prices.append(m.el);
    drawCharts = (o, fresh) => {
      if (fresh.has("all") || fresh.has("series")) {
        timeline.powerChart(p, o.series);
        timeline.hashChart(e, o.series, o.fleet.deployed_ehs);
        timeline.tokenChart(t, o.series);
      }
      if (fresh.has("all") || fresh.has("markets")) m.update(o);
    };
    disposeCharts = () => [p, e, t, m].forEach((c) => c.dispose());
    if (feed.overview) drawCharts(feed.overview, new Set(["all"]));
  });

  const stop = feed.follow((o, fresh) => {
    const all = fresh.has("all");
    if (all || fresh.has("attention") || fresh.has("parts") || fresh.has("silence") || fresh.has("connection")) attention.update(o);
    if (all || fresh.has("keys") || fresh.has("month")) keys.update(o);
    if (all || fresh.has("sites")) map.update(o);
    if (all || fresh.has("decisions")) decisions.update(o);
    if (all || fresh.has("replicas")) chat.update(o);
    if (all || fresh.has("month")) monthTable(month, o.month);
    hashPanel.note.textContent = `${ehsOf(o.keys.ehs, o.keys.deployed_ehs)} deployed`;
    drawCharts(o, fresh);
  });
  return () => {
    gone = true;
    stop();
    map.dispose();
    disposeCharts?.();
  };
}
