// The bar on every page: whose fleet, what time its world has, what of it is real, and whether the platform is well.

import { feed, get, type Me, type Origin, type Overview } from "./data";
import { h, patch, say, type Child } from "./dom";
import { clock, count, day, num } from "./format";
import { openPalette } from "./palette";
import { isDark, onTheme, toggleTheme } from "./theme";
import { local } from "./times";

const STREAMS: [string, string][] = [
  ["PriceTick", "power prices"], ["NetworkTick", "bitcoin network"], ["WeatherTick", "weather"], ["Demand", "demand"],
  ["Sample", "rigs and meters"], ["Usage", "inference served"], ["Payout", "pool"],
];

// Pages that a row of tabs under another page's head leads to.
const WITHIN: Record<string, string> = { "/books": "/treasury", "/update": "/treasury", "/observed": "/records", "/audit": "/records", "/people": "/account" };

export class Header {
  readonly el: HTMLElement;
  private readonly fleet = h("span", { class: "fleet" });
  private readonly date = h("span", { class: "date" });
  private readonly hour = h("span", {});
  private readonly wall = h("small", { class: "local" });
  private readonly speed = h("span", { class: "speed" });
  private readonly parts = h("details", { class: "parts" });
  private readonly partsSum = h("summary", {});
  private readonly partsList = h("ul", {});
  private readonly link = h("span", { class: "conn", role: "status" });
  private readonly banner = h("div", { class: "banner", role: "note" });
  private readonly who = h("a", { class: "who", href: "/account", "data-nav": true });
  private readonly nav: HTMLElement;
  private told = "";

  constructor(open: (path: string) => void) {
    const theme = h("button", { type: "button", class: "quiet theme" });
    const label = (): void => {
      say(theme, isDark() ? "Light" : "Dark");
      theme.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
    };
    theme.addEventListener("click", () => toggleTheme());
    onTheme(label);
    label();
    const find = h("button", { type: "button", class: "quiet find", title: "Ctrl+K", "aria-keyshortcuts": "Control+K Meta+K /" }, "Find");
    find.addEventListener("click", () => openPalette(open));
    this.nav = h("nav", { "aria-label": "Pages" },
      ([["/", "Overview"], ["/tomorrow", "Tomorrow"], ["/rigs", "Rigs"], ["/inference", "Inference"], ["/treasury", "Treasury"], ["/disclosures", "Disclosures"], ["/records", "Records"]] as const).map(([href, name]) => h("a", { href, "data-nav": true }, name)));
    this.parts.append(this.partsSum, this.partsList);
    document.addEventListener("click", (e) => {
      if (!this.parts.contains(e.target as Node)) this.parts.open = false;
    });
    this.el = h("header", { class: "top" },
      h("div", { class: "bar-row" },
        h("a", { href: "/", class: "brand", "data-nav": true, "aria-label": "Tieline, overview" }, mark(), h("b", {}, "Tieline")), this.fleet, this.nav,
        h("div", { class: "status" }, this.link, h("time", { class: "world" }, this.date, " ", this.hour, " ", this.wall), this.speed, this.parts, find, this.who, theme)),
      this.banner);
    setInterval(() => this.tick(), 1000);
    void get<Me>("/api/me").then((me) => this.whoIs(me)).catch(() => undefined);
    feed.follow((o, fresh) => this.update(o, fresh));
  }

  here(path: string): void {
    for (const a of this.nav.children) {
      const href = a.getAttribute("href")!;
      const on = href === "/" ? path === "/" || path.startsWith("/site/") : path.startsWith(href) || WITHIN[path] === href;
      if (on) {
        a.setAttribute("aria-current", "page");
        // On a phone the row scrolls; where one is stays in view.
        this.nav.scrollLeft = Math.max(0, (a as HTMLElement).offsetLeft - this.nav.offsetLeft - 80);
      }
      else a.removeAttribute("aria-current");
    }
  }

  private whoIs(me: Me): void {
    say(this.who, me.id ? me.name || me.id : "No sign-in yet");
    this.who.title = me.id ? (me.roles ?? []).join(", ") : "Whoever sits at this machine may command. The first admin is made by the link that `tieline up` prints.";
    this.nav.append(h("a", { href: "/alerts", "data-nav": true }, "Alerts"), h("a", { href: "/approvals", "data-nav": true }, "Approvals"), h("a", { href: "/account", "data-nav": true, class: "phone" }, "Account"));
    this.here(location.pathname);
  }

  private tick(): void {
    const o = feed.overview;
    if (!o) return;
    const now = feed.now();
    say(this.date, day(now));
    say(this.hour, `${clock(now)} UTC`);
    say(this.wall, local(now));
    const quiet = feed.quietFor();
    const lost = feed.stale;
    say(this.link, lost ? `no news for ${Math.round(quiet)} s` : "");
    this.link.classList.toggle("bad", lost);
    document.documentElement.classList.toggle("stale", lost && quiet > 20);
  }

  private update(o: Overview, fresh: Set<string>): void {
    say(this.fleet, o.fleet.name);
    say(this.speed, Math.abs(o.speed - 1) < 0.01 ? "" : `× ${num(o.speed, 0)}`);
    this.speed.title = "World time runs faster than the wall clock; tokens do not.";
    const bad = o.parts.filter((p) => !p.ok);
    const stale = feed.stale;
    const text = JSON.stringify([o.parts, stale]);
    if (text !== this.told) {
      this.told = text;
      patch(this.partsSum, h("i", { class: `health ${stale ? "" : bad.length ? "ill" : "well"}` }), stale || !o.parts.length ? "parts unknown" : bad.length ? `${bad.map((p) => p.name).join(", ")} not well` : `${count(o.parts.length, "part")} well`);
      patch(this.partsList, o.parts.map((p) => h("li", {}, h("i", { class: `health ${p.ok ? "well" : "ill"}` }), h("b", {}, p.name), " ", p.detail || (p.ok ? "well" : "not well"))), o.version ? h("li", { class: "muted" }, `Tieline ${o.version}`) : null);
    }
    if (fresh.has("all") || fresh.has("origins")) patch(this.banner, banner(o));
    this.tick();
  }
}

function banner(o: Overview): Child[] {
  const out: Child[] = [];
  if (o.fleet.invented) out.push(chip("sim", o.fleet.invented === o.fleet.sites ? `All ${o.fleet.sites} sites are invented` : `${o.fleet.invented} of ${o.fleet.sites} sites are invented`));
  const by = new Map<string, string[]>();
  const put = (how: string, name: string): void => void by.set(how, [...(by.get(how) ?? []), name]);
  for (const [stream, name] of STREAMS) {
    const origins = latest(o.origins.filter((x) => x.stream === stream && x.kind !== "forecast"));
    const live = origins.filter((x) => x.kind !== "simulated" && !/synthetic|simulated|history/.test(x.source));
    if (!origins.length) continue;
    if (stream === "Usage") put("Real", name);
    else if (live.length && live.length < origins.length) put(`Partly simulated (${[...new Set(live.map((x) => x.source))].slice(0, 2).join(", ")} measured)`, name);
    else if (live.length) put(stream === "Sample" ? "Measured" : `Live from ${[...new Set(live.map((x) => x.source))].slice(0, 2).join(", ")}`, name);
    else put(origins.some((x) => x.source === "synthetic") ? "Synthetic" : "Simulated", name);
  }
  for (const [how, names] of by) out.push(chip(/^(Real|Live|Measured)/.test(how) ? "real" : "sim", `${how}: ${names.join(", ")}`));
  if (Math.abs(o.speed - 1) >= 0.01) out.push(chip("sim", `World time runs at ${num(o.speed, 0)} times the wall clock`));
  if (o.writing_past) out.push(chip("sim", "The demo's past is being written"));
  if (o.note) out.push(h("span", {}, o.note));
  if (o.caught_up < 1) out.push(chip("sim", `Reading the records: ${num(100 * o.caught_up, 0)} %`));
  return out;
}

/** Sources that spoke within a day of the newest: a feed that was switched off is history. */
function latest(origins: Origin[]): Origin[] {
  const newest = Math.max(...origins.map((x) => x.at), 0);
  return origins.filter((x) => newest - x.at < 86400);
}

const chip = (cls: string, text: string): HTMLElement => h("span", { class: `chip ${cls}` }, h("i", {}), text);

function mark(): SVGSVGElement {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 32 32");
  svg.setAttribute("class", "logo");
  svg.setAttribute("aria-hidden", "true");
  const mk = (tag: string, props: Record<string, string>): void => {
    const el = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [k, v] of Object.entries(props)) el.setAttribute(k, v);
    svg.append(el);
  };
  mk("path", { d: "M5 22h8l6-12h8", class: "logo-line" });
  mk("circle", { cx: "5", cy: "22", r: "3.2", class: "logo-a" });
  mk("circle", { cx: "27", cy: "10", r: "3.2", class: "logo-b" });
  return svg;
}
