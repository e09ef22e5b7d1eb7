"""Rows of what leaves a figure of a sentence unproven in languages other than English: licence, pattern, an example.

The open reader finds figures in these languages; no grammar proves them. A figure keeps its licences where its own
sentence states the month and meets none of these rows, and is a fact only with a second voice. The words are those of
plans, denials, estimates, other spans and other owners; a row's example is a sentence that it must bar.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tieline.disclosures.facts.fact import Licence
from tieline.disclosures.lexicon import words as w


class ForeignBar(NamedTuple):
    """One row."""

    licence: Licence
    pattern: re.Pattern[str]
    example: str


def _r(licence: Licence, pattern: str, example: str) -> ForeignBar:
    return ForeignBar(licence, re.compile(pattern, re.IGNORECASE), example)


# fmt: off
BARS: tuple[ForeignBar, ...] = (
    _r("window", r"\b(?:seit|bis ende|insgesamt|kumuliert|laufenden jahr|jahresverlauf|ersten \w+ monate|quartal|woche|halbjahr|geschäftsjahr)\b", "Seit Januar 2025 wurden 402 BTC produziert."),
    _r("window", r"\b(?:depuis|cumul\w*|au cours des|premiers? mois|trimestre|semestre|semaine|exercice|desde|acumulad\w+|primeros|últimos|en lo que va|semana|ejercicio|dall'inizio|primi \w+ mesi|settimana|primeiros)\b", "Depuis janvier 2025, 290 BTC ont été minés."),
    _r("window", r"累计|累計|今年|前[一二三四五六七八九十\d]+个月|年初|至今|上半年|季度|周|から.{0,12}まで|これまで|上半期|四半期|週|누적|올해|분기|с начала|квартал|недел", "今年前七个月累计产出402枚比特币。"),
    _r("subject", r"\b(?:kunden?|netzwerk|branche|sektor|tochter\w*|stiftung|konkurren\w+|gesamte\w* industrie|clients?|réseau|secteur|filiale|concurren\w+|fondation|clientes?|sus clientes|sector|red|filial|fundación|competidor\w*|clienti|settore|rete|controllata)\b", "Für Kunden wurden im Juli 2025 31 BTC produziert."),
    _r("subject", r"客户|客戶|全网|全網|行业|業界|同行|子公司|合资|基金会|托管|顧客|他社|네트워크|고객|업계|자회사|клиент|сет[иь]|отрасл|дочерн", "业界在2025年7月产出14100枚比特币。"),
    _r("assertion", r"\b(?:plan\w*|geplant\w*|will|wird|werden soll\w*|soll\w*|würde\w*|könnte\w*|erwart\w*|schätz\w*|prognos\w*|analyst\w*|laut|angeblich|gerücht\w*|nicht|keine?n?|dementier\w*|bestreit\w*|ziel\w*|bis zu|mindestens|zwischen|höchstens)\b", "Das Unternehmen plant, im August 2025 60 BTC zu schürfen."),
    _r("assertion", r"\b(?:prévoi\w*|prévu\w*|devrai\w*|pourrai\w*|estim\w*|attend\w*|analyst\w*|selon|rumeur\w*|dément\w*|n'a pas|ne\b.{0,12}\bpas|aucun\w*|objectif\w*|jusqu'à|au moins|entre)\b", "Aigrette prévoit de miner 50 BTC en août 2025."),
    _r("assertion", r"\b(?:prevé\w*|prevê\w*|planea\w*|espera\w*|podría\w*|estima\w*|según|rumor\w*|desmient\w*|niega\w*|no (?:ha|vendió|minó|produjo)|ningún\w*|objetivo|hasta|al menos|entre|previst\w*|stima\w*|secondo|nessun\w*|non ha|smentisc\w*|obiettivo|almeno|segundo analistas|não)\b", "Garza desmiente haber vendido 90 BTC en julio de 2025."),
    _r("assertion", r"预计|預計|计划|計劃|将|將|目标|目標|可能|传闻|传言|否认|否認|并未|没有|沒有|未曾|据悉|分析师|至少|最多|介于|計画|予定|見込|見通し|否定|可能性|アナリスト|推定|以上|以下|だろう|ない|예정|계획|전망|추정|부인|않|목표|план|ожида|прогноз|опроверг|не\b|слух|аналитик|до\b|около", "白鹭矿业预计2025年8月产出60枚比特币。"),
)
# fmt: on


def barred(sentence: str) -> tuple[Licence, str] | None:
    """The licence that the words of a sentence take from its figures, and the word; None where they leave them."""
    for row in BARS:
        if (m := row.pattern.search(sentence)) is not None:
            return row.licence, f"{m[0]!r}: not plainly told as the issuer's own of one month"
    other = w.FUTURE.search(sentence) or w.OTHER_COIN.search(sentence)
    return ("assertion", f"{other[0]!r}: not plainly told as done") if other is not None else None
