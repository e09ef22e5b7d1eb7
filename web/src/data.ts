// What the console tells, and keeping up with it: one load, then one stream of events.

export interface Site {
  id: string; name: string; region: string; lat: number; lon: number; mode: string; ownership: string; invented: boolean;
  limit_mw: number; interconnect_mw: number; mining_mw: number | null; inference_mw: number | null; aux_mw: number | null;
  asked_mw: number | null; drawn_mw: number | null; ehs: number | null; deployed_ehs: number; tokens_s: number | null;
  does: "mining" | "inference" | "grid" | "unheard"; heard: number; units: number; age_s: number | null;
  price_usd_per_mwh: number | null; plan_seq: number | null;
  meter_mw: number | null; meter_age_s: number | null; meter_seq: number | null; faults: string[]; orders: number[];
}

export interface Keys {
  mining_mw: number | null; inference_mw: number | null; aux_mw: number | null; limit_mw: number; grid_mw: number | null;
  drawn_mw: number | null; units_heard: number; units: number; age_s: number | null; typical_age_s: number | null;
  ehs: number | null; deployed_ehs: number; modelled_tokens_s: number | null; price_usd_per_mwh: number | null;
  priced_mw: number; hashprice_usd: number | null; btc_usd: number | null; difficulty: number | null;
  network_ehs: number | null; network_source: string | null; network_age_s: number | null; network_seq: number | null;
  planned_usd_per_h: number | null;
}

export interface Change {
  unit_id: string; use: "mining" | "inference"; before_mw: number | null; after_mw: number; rule: string; text: string;
  bid_usd_per_mwh: number | null; price_usd_per_mwh: number | null;
}

export interface Decision {
  seq: number; at: number; site_id: string; site: string; region: string; source: string; kind: string;
  type: "Plan" | "Instruction" | "Commitment" | "Fault" | "Override" | "Action";
  mode?: string; price_usd_per_mwh?: number | null; limit_mw?: number; decided_by?: string; note?: string; changes?: Change[];
  until?: number | null; notice_s?: number; what?: string; detail?: string; unit_id?: string | null; target_mw?: number | null;
  by?: string; why?: string; target?: string; status?: string; usd_per_mw_h?: number;
}

export interface Group {
  unit_id: string; site_id: string; site: string; model: string; j_per_th: number; rated_mw: number; target_mw: number | null;
  strike_usd_per_mwh: number | null; strike_from: string | null; stops_above_usd_per_mwh?: number | null; price_usd_per_mwh?: number | null;
}

export interface Curve {
  market: string; points: [number, number, number][]; length_s: number; now_usd_per_mwh: number | null; source: string | null;
  kind: string | null; seq: number | null; strike_low: number | null; strike_high: number | null; groups: Group[];
}

export interface Origin { stream: string; source: string; kind: string; at: number }
export interface Part { name: string; ok: boolean; detail: string }
export interface Replica {
  id: string; site_id: string; site: string; model: string; state: string; label: string; engine: string; slots: number;
  detail: string; age_s: number; seq: number;
}
export interface Attention { level: "bad" | "warn" | "note"; what: string; text: string; site_id: string | null; site: string; seq: number | null; since: number | null }
export interface Figure { name: string; value: string | null; unit: string; how: string; records: string; count: number }
export interface Month { month: string; start: number; end: number; complete: boolean; simulated: boolean; figures: Figure[] }
export type Row = (number | null)[];
export interface Series { columns: string[]; rows: Row[] }

export interface Session { id: string; made: number; seen: number; until: number; address: string; agent: string }
export interface Me { id: string | null; name?: string; roles?: string[]; places?: string[]; tenant?: string; joined?: boolean; disabled?: boolean; rights: string[]; signs_in?: boolean; sessions?: Session[] }

export interface Overview {
  fleet: { name: string; sites: number; invented: number; limit_mw: number; deployed_ehs: number; regions: string[]; streams: string[]; step_s: number };
  seq: number; now: number; speed: number; keys: Keys; sites: Site[]; origins: Origin[]; replicas: Replica[]; attention: Attention[]; writing_past: boolean; parts: Part[];
  note: string; version: string; series: Series; markets: { curves: Curve[]; fixed: Group[] }; decisions: Decision[];
  month: Month | null; caught_up: number;
}

/** Somebody who has to sign in comes back to where they were. */
function toLogin(): void {
  if (!/^\/(login|join)/.test(location.pathname)) sessionStorage.setItem("after", location.pathname + location.search + location.hash);
  location.assign("/login");
}

/** Where somebody was before they had to sign in; told once. */
export function afterLogin(): string | null {
  const path = sessionStorage.getItem("after");
  sessionStorage.removeItem("after");
  return path?.startsWith("/") && !path.startsWith("//") ? path : null;
}

export async function get<T>(path: string): Promise<T> {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  if (answer.status === 401) toLogin();
  const body = await answer.json().catch(() => ({ error: `${answer.status} ${answer.statusText}` }));
  if (!answer.ok) throw new Error(body.error ?? `${answer.status}`);
  return body as T;
}

export async function post<T>(path: string, data: unknown): Promise<T> {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json", "x-tieline": "console" },
    body: JSON.stringify(data),
  });
  const body = await answer.json().catch(() => ({ error: `${answer.status} ${answer.statusText}` }));
  if (!answer.ok) throw new Error(body.error ?? `${answer.status}`);
  return body as T;
}

type Listener = (o: Overview, fresh: Set<string>) => void;

// The console tells its news every two seconds.
const STALE_S = 4.5;
// A page keeps one day; the console sends no more, this bounds what a page left open collects.
const MAX_ROWS = 320, MAX_DECISIONS = 240;

class Feed {
  overview: Overview | null = null;
  connected = false;
  private heardAt = 0;
  private source: EventSource | null = null;
  private listeners = new Set<Listener>();

  /** Called at once where data is there, then on every change, with the names of the sections that changed. */
  follow(listener: Listener): () => void {
    this.listeners.add(listener);
    if (this.overview) listener(this.overview, new Set(["all"]));
    return () => this.listeners.delete(listener);
  }

  /** Called on changes, but not again within so many milliseconds; the first time that long after now. */
  followAtMost(every_ms: number, load: () => void): () => void {
    let last = performance.now();
    return this.follow(() => {
      if (performance.now() - last < every_ms) return;
      last = performance.now();
      load();
    });
  }

  /** World time now, between two events. */
  now(): number {
    if (!this.overview) return 0;
    return this.overview.now + ((performance.now() - this.heardAt) / 1000) * this.overview.speed;
  }

  quietFor(): number {
    return (performance.now() - this.heardAt) / 1000;
  }

  /** Nothing was heard for longer than two tellings: what the page shows may no longer be so. */
  get stale(): boolean {
    return !this.connected ? this.quietFor() > 1 : this.quietFor() > STALE_S;
  }

  async load(): Promise<void> {
    this.overview = await get<Overview>("/api/overview");
    this.heardAt = performance.now();
    this.tell(new Set(["all"]));
  }

  /** Listen while the page is seen: a browser gives one host six connections, whatever the number of tabs. */
  start(): void {
    let leaving = 0;
    document.addEventListener("visibilitychange", () => {
      clearTimeout(leaving);
      if (document.hidden) {
        leaving = window.setTimeout(() => {
          this.source?.close();
          this.source = null;
        }, 5000);
      } else if (!this.source) {
        this.listen();
        void this.load().catch(() => undefined);
      }
    });
    if (!document.hidden) this.listen();
    // Silence is news too: who says that all is well has to take it back.
    let stale = false;
    setInterval(() => {
      if (this.stale === stale) return;
      stale = this.stale;
      this.tell(new Set(["silence"]));
    }, 500);
  }

  private listen(): void {
    this.source?.close();
    const source = (this.source = new EventSource("/api/events"));
    let lost = false;
    source.onopen = () => {
      this.connected = true;
      if (lost) void this.load().catch(() => undefined);
      lost = false;
      this.tell(new Set(["connection"]));
    };
    source.onerror = () => {
      lost = true;
      this.connected = false;
      this.tell(new Set(["connection"]));
    };
    source.addEventListener("resync", () => void this.load().catch(() => undefined));
    source.addEventListener("now", (event) => this.merge(JSON.parse((event as MessageEvent<string>).data)));
    source.addEventListener("month", (event) => {
      if (!this.overview) return;
      this.overview.month = JSON.parse((event as MessageEvent<string>).data);
      this.tell(new Set(["month"]));
    });
  }

  private merge(news: Partial<Overview>): void {
    const have = this.overview;
    if (!have) return;
    this.heardAt = performance.now();
    const fresh = new Set(Object.keys(news));
    const { series, decisions, ...rest } = news;
    Object.assign(have, rest);
    if (series) {
      const first = series.rows[0]?.[0] ?? Infinity;
      const before = have.series.rows.length ? have.series.rows[have.series.rows.length - 1]![0] : null;
      have.series.rows = [...have.series.rows.filter((r) => (r[0] as number) < (first as number)), ...series.rows].slice(-MAX_ROWS);
      const last = have.series.rows.length ? have.series.rows[have.series.rows.length - 1]![0] : null;
      if (before === last) fresh.delete("series");
    }
    if (decisions) {
      const known = new Set(have.decisions.map((d) => d.seq));
      have.decisions = [...decisions.filter((d) => !known.has(d.seq)), ...have.decisions]
        .sort((a, b) => b.at - a.at || b.seq - a.seq)
        .slice(0, MAX_DECISIONS);
    }
    this.tell(fresh);
  }

  private tell(fresh: Set<string>): void {
    if (!this.overview) return;
    for (const listener of this.listeners) listener(this.overview, fresh);
  }
}

export const feed = new Feed();
