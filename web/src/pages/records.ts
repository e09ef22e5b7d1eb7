// Any record at its permanent address, and the streams to browse: a table over a time range, each row's JSON on demand.

import { feed, get } from "../data";
import { h, put, type Child } from "../dom";
import { asWritten, kindTag, query, recordItem, type Ask, type Found } from "../drawer";
import { stamp, words } from "../format";
import { columnsOf, csvOf, shown, type Stored } from "../recordfields";
import { RECORDS, tabs } from "../tabs";

// What a list reaches back from its end, in seconds; without one it is the newest there are.
const SPANS: Record<string, number> = { "1h": 3600, "1d": 86400, "1w": 604800, "1m": 2678400, "1y": 31622400 };
const SPAN_NAMES: [string, string][] = [["", "the newest"], ["1h", "1 hour"], ["1d", "1 day"], ["1w", "1 week"], ["1m", "1 month"], ["1y", "1 year"]];

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
  const asked = new URLSearchParams(location.search);
  const stream = choice("stream", (feed.overview?.fleet.streams ?? ["Plan"]).map((one) => [one, one]), asked.get("stream") ?? "Plan");
  const span = choice("span", SPAN_NAMES, asked.get("span") ?? "");
  const limit = choice("limit", ["60", "200", "500"].map((n) => [n, n]), asked.get("limit") ?? "60");
  const subject = h("input", { id: "subject", value: asked.get("subject") ?? "", placeholder: "any site, market, tenant…", autocomplete: "off", spellcheck: "false" });
  const until = h("input", { id: "until", type: "datetime-local", value: asked.get("until") ?? "", title: "UTC; empty: now" });
  const csv = h("button", { class: "button plain", type: "button", disabled: true }, "CSV");
  const list = h("div", { class: "records", "aria-live": "polite" });
  const form = h("form", { class: "filters" },
    label("stream", "Stream"), stream, label("subject", "About"), subject, label("span", "Over"), span, label("until", "Until (UTC)"), until,
    label("limit", "At most"), limit, h("button", { class: "button", type: "submit" }, "Show"), csv);
  const view = new RecordTable(list, () => { csv.disabled = !view.rows.length; });
  const show = (): void => {
    const words: [string, string][] = [["stream", stream.value], ["subject", subject.value.trim()], ["span", span.value], ["until", until.value], ["limit", limit.value === "60" ? "" : limit.value]];
    history.replaceState(null, "", `/records?${new URLSearchParams(words.filter(([, value]) => value))}`);
    const end = until.value ? Date.parse(`${until.value}Z`) / 1000 : undefined, back = SPANS[span.value];
    const since = back === undefined ? undefined : (end ?? feed.now()) - back;
    void view.show({ stream: stream.value, subject: subject.value.trim() || undefined, since, until: end }, Number(limit.value));
  };
  form.addEventListener("submit", (e) => {
    e.preventDefault();
    show();
  });
  for (const one of [stream, span, limit]) one.addEventListener("change", show);
  csv.addEventListener("click", () => {
    const link = h("a", { href: URL.createObjectURL(new Blob([csvOf(view.rows)], { type: "text/csv" })), download: `${stream.value}.csv` });
    link.click();
    URL.revokeObjectURL(link.href);
  });
  put(root, h("div", { class: "page-head" }, h("h1", {}, "Records"), h("p", { class: "note" }, "Everything on these pages is a fold of these. Newest first, by the time they hold at; a number opens its record."), tabs("Records", RECORDS, "/records")), form, h("section", { class: "panel" }, list));
  show();
  return () => undefined;
}

const label = (of: string, text: string): HTMLElement => h("label", { for: of }, text);

function choice(id: string, options: [string, string][], now: string): HTMLSelectElement {
  return h("select", { id }, options.map(([value, name]) => h("option", { value, selected: value === now }, name)));
}

/** A stream's records, a row each; the columns are the fields that the stream has. */
class RecordTable {
  rows: Stored[] = [];
  private asked = 0;

  constructor(private readonly box: HTMLElement, private readonly changed: () => void) {}

  async show(ask: Ask, limit: number, after?: string): Promise<void> {
    const turn = ++this.asked;
    if (after === undefined) {
      this.rows = [];
      put(this.box, h("p", { class: "wait" }, "Reading…"));
    }
    try {
      const page = await get<Found>(`${query(ask, limit)}${after === undefined ? "" : `&after=${after}`}`);
      if (turn !== this.asked) return; // something else has been asked for since
      this.rows = [...this.rows, ...page.records];
      put(this.box, this.rows.length ? this.table() : h("p", { class: "wait" }, `No ${ask.stream} record in that time.`), page.more ? this.further(ask, limit, page.next ?? "") : null);
    } catch (error) {
      put(this.box, h("p", { class: "bad" }, (error as Error).message));
    }
    this.changed();
  }

  private further(ask: Ask, limit: number, next: string): HTMLElement {
    const button = h("button", { class: "button", type: "button" }, "There are older ones: show more");
    button.addEventListener("click", () => {
      button.disabled = true;
      void this.show(ask, limit, next);
    });
    return button;
  }

  private table(): HTMLElement {
    const columns = columnsOf(this.rows, "subject");
    const body = h("tbody", {}, this.rows.map((r) => this.row(r, columns)));
    return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Records" }, h("table", { class: "stream" },
      h("thead", {}, h("tr", {}, ["Record", "Holds at", "About", "Kind", ...columns.map(words), "Source", "Known at"].map((name) => h("th", { scope: "col" }, name)))), body));
  }

  private row(r: Stored, columns: string[]): HTMLElement {
    const open = h("button", { class: "quiet ref", type: "button", "aria-expanded": "false", "aria-label": `Record ${r.seq}: JSON` }, `#${r.seq}`);
    const tr = h("tr", {}, h("td", {}, open), h("td", {}, stamp(r.at)), h("td", {}, r.subject), h("td", {}, kindTag(r.kind)),
      columns.map((name) => fieldCell(r.record[name])), h("td", {}, r.source), h("td", {}, stamp(r.known_at)));
    let more: HTMLElement | null = null;
    open.addEventListener("click", () => {
      if (more) {
        more.remove();
        more = null;
      } else {
        const json = asWritten(r);
        json.setAttribute("open", "");
        more = h("tr", { class: "more" }, h("td", { colspan: columns.length + 6 }, json, h("a", { href: `/records/${r.seq}`, "data-nav": true }, `Permanent link: /records/${r.seq}`)));
        tr.after(more);
      }
      open.setAttribute("aria-expanded", String(more !== null));
    });
    return tr;
  }
}

function fieldCell(value: unknown): Child {
  const text = shown(value);
  return h("td", { class: typeof value === "number" ? "n" : null, title: text.length > 60 ? text : null }, text.length > 60 ? `${text.slice(0, 58)}…` : text);
}
