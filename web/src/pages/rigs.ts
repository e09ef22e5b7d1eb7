// Every rig in one table: sorted, filtered, picked and exported without asking again, also with ten thousand of them.
//
// Rows have one height, and only those in view are elements: a filter touches an array, never ten thousand rows.

import { Bulk } from "../bulk";
import { get } from "../data";
import { h, put, say } from "../dom";
import { count, DASH, num } from "../format";

type Value = string | number | boolean | null;
interface Table { now: number; columns: string[]; rows: Value[][]; elsewhere: string[]; modelled: number }
interface Column { name: string; title: string; digits?: number; unit?: string; wide?: boolean }

const COLUMNS: Column[] = [
  { name: "address", title: "Rig", wide: true }, { name: "site", title: "Site" }, { name: "model", title: "Model", wide: true }, { name: "firmware", title: "Firmware" }, { name: "state", title: "State" },
  { name: "ths", title: "TH/s", digits: 1 }, { name: "short", title: "Short", digits: 0, unit: " %" }, { name: "watts", title: "W", digits: 0 }, { name: "j_th", title: "J/TH", digits: 1 },
  { name: "chip_c", title: "Chip °C", digits: 0 }, { name: "heard", title: "Heard", digits: 0, unit: " %" }, { name: "pool", title: "Pool", wide: true },
];
const ROW = 30, SPARE = 4;

export function rigsPage(root: HTMLElement): () => void {
  document.title = "Rigs · Tieline";
  const query = new URLSearchParams(location.search);
  const filter = h("input", { id: "rig-filter", type: "search", value: query.get("q") ?? "", placeholder: "address, site, model, state, pool", autocomplete: "off", spellcheck: "false" });
  const told = h("p", { class: "note", role: "status" }), csv = h("button", { class: "button plain", type: "button" }, "CSV");
  const view = new VirtualTable(query.get("sort") ?? "short", query.get("down") !== "0", () => remember());
  const bulk = new Bulk(() => view.all.filter((r) => view.picked.has(r.id)).map((r) => ({ unit_id: r.group, address: String(r.cells[0] ?? "") })));
  const remember = (): void => history.replaceState(null, "", `/rigs?${new URLSearchParams({ q: filter.value, sort: view.by, down: view.down ? "1" : "0" })}`);
  put(root, h("div", { class: "page-head" }, h("h1", {}, "Rigs"), h("p", { class: "note" }, "Means over the last ten minutes, from the samples that sites keep on this machine.")),
    h("form", { class: "filters", role: "search" }, h("label", { for: "rig-filter" }, "Filter"), filter, csv), told, bulk.el, view.el);
  root.querySelector("form")!.addEventListener("submit", (e) => e.preventDefault());
  let table: Table | null = null;
  const show = (): void => {
    if (!table) return;
    view.show(filter.value);
    const picked = view.picked.size ? ` · ${view.picked.size} picked` : "";
    const elsewhere = table.elsewhere.length ? ` · of ${table.elsewhere.slice(0, 6).join(", ")} no rig is known here` : "";
    const modelled = table.modelled ? ` · ${num(table.modelled, 0)} more are modelled as groups, not one by one` : "";
    const heard = view.shown.filter((r) => r.heard).length;
    say(told, `${num(view.shown.length, 0)} of ${count(table.rows.length, "rig")} · ${num(heard, 0)} of ${num(view.shown.length, 0)} heard${picked}${elsewhere}${modelled}`);
    bulk.update();
  };
  view.changed = show;
  filter.addEventListener("input", () => {
    show();
    remember();
  });
  csv.addEventListener("click", () => save(view.picked.size ? view.shown.filter((r) => view.picked.has(r.id)) : view.shown));
  const load = (): void => void get<Table>("/api/rigs").then((t) => {
    table = t;
    view.take(t);
    show();
  }).catch((e: Error) => say(told, e.message));
  load();
  const again = setInterval(load, 15_000);
  return () => {
    clearInterval(again);
    bulk.leave();
  };
}

interface Rig { id: string; group: string; words: string; href: string; cells: Value[]; estimated: boolean; heard: boolean }

class VirtualTable {
  readonly el: HTMLElement;
  shown: Rig[] = [];
  picked = new Set<string>();
  changed: () => void = () => undefined;
  all: Rig[] = [];
  private words = "";
  private readonly body = h("div", { class: "rows", role: "rowgroup" });
  private readonly space = h("div", { class: "space" });
  private readonly scroll: HTMLElement;
  private readonly heads: HTMLElement[];

  constructor(public by: string, public down: boolean, private readonly sorted: () => void) {
    this.heads = COLUMNS.map((c) => {
      const button = h("button", { type: "button", class: "quiet" }, c.title);
      button.addEventListener("click", () => this.sort(c.name));
      return h("div", { role: "columnheader", class: cell(c) }, button);
    });
    const all = h("input", { type: "checkbox", "aria-label": "Pick all that are shown" });
    all.addEventListener("change", () => {
      this.picked = new Set(all.checked ? this.shown.map((r) => r.id) : []);
      this.draw(true);
      this.changed();
    });
    this.space.append(this.body);
    this.scroll = h("div", { class: "virtual", role: "table", "aria-label": "Rigs", tabindex: "0" },
      h("div", { role: "rowgroup" }, h("div", { class: "rig head", role: "row" }, h("div", { role: "columnheader", class: "pick" }, all), this.heads)), this.space);
    this.scroll.addEventListener("scroll", () => this.draw(), { passive: true });
    this.el = h("section", { class: "panel rig-table" }, this.scroll);
  }

  take(t: Table): void {
    const at = Object.fromEntries(t.columns.map((name, i) => [name, i]));
    const of = (row: Value[], name: string): Value => row[at[name]!] ?? null;
    this.all = t.rows.map((row) => {
      const ths = of(row, "ths") as number | null, rated = of(row, "rated_ths") as number, asleep = of(row, "state") === "asleep";
      const short = asleep || ths === null || !rated ? null : Math.max(0, 100 * (1 - ths / rated));
      const cells = COLUMNS.map((c) => (c.name === "short" ? short : c.name === "heard" ? 100 * (of(row, "heard_share") as number) : of(row, c.name)));
      return { id: `${of(row, "site")}/${of(row, "key")}`, group: String(of(row, "group")), words: row.filter((v) => typeof v === "string").join(" ").toLowerCase(), href: `/rigs/${of(row, "site")}/${encodeURIComponent(String(of(row, "key")))}`, cells, estimated: of(row, "estimated") === true, heard: (of(row, "heard_share") as number) > 0 };
    });
    this.order();
  }

  show(words: string): void {
    this.words = words.trim().toLowerCase();
    const wanted = this.words.split(/\s+/).filter(Boolean);
    this.shown = wanted.length ? this.all.filter((r) => wanted.every((w) => r.words.includes(w))) : this.all;
    this.space.style.height = `${this.shown.length * ROW}px`;
    this.draw(true);
  }

  private sort(name: string): void {
    this.down = this.by === name ? !this.down : true;
    this.by = name;
    this.order();
    this.show(this.words);
    this.sorted();
  }

  private order(): void {
    const i = Math.max(0, COLUMNS.findIndex((c) => c.name === this.by)), sign = this.down ? -1 : 1;
    // What is not known stands last, whichever way.
    this.all.sort((a, b) => {
      const x = a.cells[i], y = b.cells[i];
      if (x === null || x === undefined || x === "") return y === null || y === undefined || y === "" ? 0 : 1;
      if (y === null || y === undefined || y === "") return -1;
      return sign * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true }));
    });
    this.heads.forEach((head, n) => head.setAttribute("aria-sort", n === i ? (this.down ? "descending" : "ascending") : "none"));
  }

  /** Elements for the rows in view; those that stay keep their element, and so focus and selection. */
  private draw(anew = false): void {
    const first = Math.max(0, Math.floor(this.scroll.scrollTop / ROW) - SPARE);
    const rows = this.shown.slice(first, first + Math.ceil(this.scroll.clientHeight / ROW) + 2 * SPARE);
    const have = new Map([...this.body.children].map((el) => [(el as HTMLElement).dataset.id!, el as HTMLElement]));
    for (const [id, el] of have) if (!rows.some((r) => r.id === id)) el.remove();
    rows.forEach((rig, n) => {
      const el = have.get(rig.id) ?? this.row(rig);
      if (anew || !el.isConnected) this.fill(el, rig);
      el.style.top = `${(first + n) * ROW}px`;
      el.setAttribute("aria-rowindex", String(first + n + 2));
      if (!el.isConnected) this.body.append(el);
    });
    this.scroll.setAttribute("aria-rowcount", String(this.shown.length + 1));
  }

  private row(rig: Rig): HTMLElement {
    const box = h("input", { type: "checkbox", "aria-label": `Pick ${rig.cells[0]}` });
    box.addEventListener("change", () => {
      if (box.checked) this.picked.add(rig.id);
      else this.picked.delete(rig.id);
      this.changed();
    });
    const cells = COLUMNS.map((c, i) => h("div", { role: "cell", class: cell(c) }, i === 0 ? h("a", { href: rig.href, "data-nav": true }) : null));
    return h("div", { class: "rig", role: "row", "data-id": rig.id }, h("div", { role: "cell", class: "pick" }, box), cells);
  }

  private fill(el: HTMLElement, rig: Rig): void {
    (el.querySelector("input") as HTMLInputElement).checked = this.picked.has(rig.id);
    COLUMNS.forEach((c, i) => {
      const target = el.children[i + 1]! as HTMLElement, value = rig.cells[i] ?? null;
      const mark = c.name === "watts" && rig.estimated ? "~" : "";
      target.title = mark ? "It tells no watts: estimated from model and hashrate" : "";
      say(i === 0 ? (target.firstElementChild as HTMLElement) : target, typeof value === "number" ? mark + num(value, c.digits ?? 0) + (c.unit ?? "") : String(value || DASH));
      if (c.name === "state") target.className = `${cell(c)} ${value === "silent" || value === "disobeys" || value === "never heard" ? "bad" : ""}`;
    });
  }
}

const cell = (c: Column): string => `${c.digits === undefined ? "" : "n"} ${c.wide ? "wide" : ""} c-${c.name}`;

function save(rigs: Rig[]): void {
  const quoted = (v: Value | undefined): string => (typeof v === "number" ? String(Math.round(v * 1000) / 1000) : `"${(/^[=+\-@]/.test(String(v ?? "")) ? `'${v}` : String(v ?? "")).replaceAll('"', '""')}"`);
  const text = [[...COLUMNS.map((c) => quoted(c.title)), quoted("Watts are")], ...rigs.map((r) => [...COLUMNS.map((_, i) => quoted(r.cells[i])), quoted(r.estimated ? "estimated" : "told")])].map((row) => row.join(",")).join("\r\n");
  const link = h("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: "rigs.csv" });
  link.click();
  URL.revokeObjectURL(link.href);
}
