// Find anything by a few letters: Ctrl+K (or Cmd+K, or "/") anywhere. Pages, sites, rigs, tenants, a record by its number.

import { feed, get } from "./data";
import { h, put, say } from "./dom";

interface Hit { name: string; about: string; href: string; outside?: boolean }
interface RigTable { columns: string[]; rows: unknown[][] }

const SHOWN = 12;
const PAGES: Hit[] = ([["Overview", "/"], ["Tomorrow", "/tomorrow"], ["Rigs", "/rigs"], ["Inference", "/inference"], ["Treasury", "/treasury"], ["Books", "/books"], ["Monthly update", "/update"],
  ["Disclosures", "/disclosures"], ["Studies", "/studies"], ["Records", "/records"], ["People", "/people"], ["Alerts", "/alerts"], ["Approvals", "/approvals"], ["Observed", "/observed"], ["Audit", "/audit"], ["Account", "/account"]] as const)
  .map(([name, href]) => ({ name, about: "page", href, outside: href === "/studies" }));

/** How well `text` answers `asked`: all its words somewhere, better at a word's beginning; 0: not at all. */
export function score(text: string, asked: string): number {
  const low = text.toLowerCase();
  let sum = 0;
  for (const word of asked.toLowerCase().split(/\s+/).filter(Boolean)) {
    const at = low.indexOf(word);
    if (at < 0) return 0;
    sum += at === 0 ? 3 : /[\s\-_:.]/.test(low[at - 1]!) ? 2 : 1;
  }
  return sum;
}

/** The best of `all`, in their order where they are as good. */
export function best(all: Hit[], asked: string, most = SHOWN): Hit[] {
  if (!asked.trim()) return all.slice(0, most);
  return all.map((hit, i) => ({ hit, i, score: score(`${hit.name} ${hit.about}`, asked) })).filter((one) => one.score > 0)
    .sort((a, b) => b.score - a.score || a.i - b.i).slice(0, most).map((one) => one.hit);
}

/** What takes longer to ask for than a key press: asked once, when the palette is first open. */
class Slow {
  private hits: Hit[] | null = null;
  private asking = false;
  private then = (): void => undefined;

  /** What is known by now; `then` is called once there is more, for whoever asked last. */
  get(then: () => void): Hit[] {
    this.then = then;
    if (!this.hits && !this.asking) {
      this.asking = true;
      void Promise.all([this.rigs(), this.tenants()]).then(([rigs, tenants]) => {
        this.hits = [...tenants, ...rigs];
        this.then();
      }).finally(() => { this.asking = false; });
    }
    return this.hits ?? [];
  }

  private rigs(): Promise<Hit[]> {
    return get<RigTable>("/api/rigs").then(({ columns, rows }) => {
      const at = Object.fromEntries(columns.map((name, i) => [name, i]));
      const of = (row: unknown[], name: string): string => String(row[at[name]!] ?? "");
      return rows.map((row) => ({ name: of(row, "key") || of(row, "address"), about: `rig · ${of(row, "site")} · ${of(row, "model")} · ${of(row, "address")}`, href: `/rigs/${encodeURIComponent(of(row, "site"))}/${encodeURIComponent(of(row, "key"))}` }));
    }).catch(() => []);
  }

  private tenants(): Promise<Hit[]> {
    return get<{ tenants: { tenant?: string; id?: string; name?: string }[] }>("/api/inference").then(({ tenants }) =>
      tenants.map((t) => ({ name: t.name ?? t.tenant ?? t.id ?? "", about: "tenant", href: "/inference" }))).catch(() => []);
  }
}

const slow = new Slow();

function hits(asked: string, again: () => void): Hit[] {
  const number = asked.trim().match(/^#?(\d{1,15})$/);
  const record = number ? [{ name: `#${number[1]}`, about: "record", href: `/records/${number[1]}` }] : [];
  const sites = (feed.overview?.sites ?? []).map((site) => ({ name: site.name, about: `site · ${site.id} · ${site.region}`, href: `/site/${encodeURIComponent(site.id)}` }));
  return [...record, ...best([...PAGES, ...sites, ...(asked.trim().length > 1 ? slow.get(again) : [])], asked, SHOWN - record.length)];
}

/** Open it; one at a time. */
export function openPalette(open: (path: string) => void): void {
  if (document.querySelector("dialog.palette")) return;
  const back = document.activeElement as HTMLElement | null;
  const input = h("input", { type: "text", role: "combobox", "aria-label": "Find a page, site, rig, tenant or record", "aria-expanded": "true", "aria-controls": "palette-hits", "aria-autocomplete": "list", autocomplete: "off", spellcheck: "false", placeholder: "Find a page, site, rig, tenant, #record" });
  const list = h("ul", { id: "palette-hits", role: "listbox", "aria-label": "Found" });
  const none = h("p", { class: "note", role: "status" });
  const box = h("dialog", { class: "palette", "aria-label": "Find" }, input, list, none);
  let found: Hit[] = [], here = 0;
  const mark = (): void => {
    [...list.children].forEach((li, i) => li.setAttribute("aria-selected", String(i === here)));
    input.setAttribute("aria-activedescendant", found.length ? `palette-${here}` : "");
    list.children[here]?.scrollIntoView({ block: "nearest" });
  };
  const show = (): void => {
    found = hits(input.value, show);
    here = Math.min(here, Math.max(0, found.length - 1));
    put(list, found.map((hit, i) => {
      const li = h("li", { id: `palette-${i}`, role: "option" }, h("b", {}, hit.name), h("small", {}, hit.about));
      li.addEventListener("click", () => go(hit));
      return li;
    }));
    say(none, found.length ? "" : "Nothing of that name is known here.");
    mark();
  };
  const close = (): void => { box.close(); box.remove(); back?.focus(); };
  // A study's report is a page of its own, which this one's script does not show.
  const go = (hit: Hit): void => { close(); if (hit.outside) location.assign(hit.href); else open(hit.href); };
  input.addEventListener("input", () => { here = 0; show(); });
  input.addEventListener("keydown", (e) => {
    if (e.key === "ArrowDown" || e.key === "ArrowUp") {
      e.preventDefault();
      here = found.length ? (here + (e.key === "ArrowDown" ? 1 : found.length - 1)) % found.length : 0;
      mark();
    } else if (e.key === "Enter" && found[here]) {
      e.preventDefault();
      go(found[here]!);
    }
  });
  box.addEventListener("cancel", (e) => { e.preventDefault(); close(); });
  box.addEventListener("click", (e) => { if (e.target === box) close(); });
  document.body.append(box);
  box.showModal();
  show();
  input.focus();
}

/** Keys that open it, wherever one is; "/" only where nobody is typing. */
export function listenForPalette(open: (path: string) => void): void {
  addEventListener("keydown", (e) => {
    const typing = (e.target as Element).closest?.("input, textarea, select, [contenteditable]");
    if (((e.ctrlKey || e.metaKey) && e.key.toLowerCase() === "k") || (e.key === "/" && !typing && !e.ctrlKey && !e.metaKey)) {
      e.preventDefault();
      openPalette(open);
    }
  });
}
