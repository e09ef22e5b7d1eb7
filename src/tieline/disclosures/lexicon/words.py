"""The field's words in the languages that miners and their press write: one pattern for each concept.

Knows nothing of layouts or numbers. Patterns are matched in lower case. English first; then German, French,
Spanish, Portuguese, Italian, Russian, Chinese, Japanese, each only where the word is common in such releases.
"""

from __future__ import annotations

import re


def words_of(text: str) -> frozenset[str]:
    """The words of a list that is written as prose."""
    return frozenset(text.split())


def _p(*parts: str) -> re.Pattern[str]:
    return re.compile("|".join(parts), re.IGNORECASE)


# fmt: off
BITCOIN = _p(r"\bbitcoins?\b", r"\bbtcs?\b", r"\bcoins\b", "₿", "比特[币幣]", "ビットコイン", "비트코인", r"битко[ийн]\w*")
OTHER_COIN = _p(r"\beth(?:er|ereum)?\b", r"\bltc\b", r"\blitecoin", r"\bdoge", r"\bkas(?:pa)?\b", r"\bother digital assets?", "以太")
OTHER_BUSINESS = _p(r"\bai\b", r"\bhpc\b", r"\bgpus?\b", r"\bcloud(?! mining)", r"\bcolocation revenue", r"high[- ]performance comput", r"\bdata ?cent(?:er|re) (?:lease|leasing)", r"\bh100\b", r"\bengineering\b", r"人工智能|算力租赁")

PRODUCED = _p(r"\b(?:self[- ]?|net )?(?:mined|produced|earned|generated|minted)\b", r"\bproduc(?:tion|ed|es|ing|e)\b", r"\bmines\b", r"\boutput\b", r"\bmining of\s*$", r"\bmining (?:a total of |approximately |about |roughly |nearly |just |only )?$", r"\bestrarre\b", r"\bprodurre\b", r"\bextraer\b", r"\bextraire\b", r"\bextraits?\b", r"\bmining total\b", r"\bmining (?:production|output|yield|results?)\b", r"\bearnings in btc", r"\bbtc (?:mining )?rewards?\b", r"\bself-?mining (?:bitcoin|btc)\b", r"\bbitcoin (?:from )?(?:self-?)?mining(?! (?:cost|revenue|fleet|hash|capacity|update|compan|machine|rig|operation|site|facilit))\b", r"\bgeschürft\w*", r"\bschürf(?:te|ten|t)?\b", r"\bgemined\w*", r"\bproduzier\w*", r"\bproduktion\b", r"\bgefördert\w*", r"\bgewonnen\w*", r"\bgeminte\w*", r"\bförderung\b", r"\bausbeute\b", r"\bmin[éa]s?\b(?! de)", r"\bmin[ée]e?s\b", r"\bproduit[es]*\b", r"\bextrait[es]*\b", r"\bminad[oa]s?\b", r"\bminando\b", r"\bprodu(?:c|z)(?:iendo|endo|indo)\b", r"\bmin[óo]\b", r"\bprodu(?:jo|cid[oa]s?|cción|ção|ziu|zid[oa]s?)\b", r"\bextra[íj]\w*", r"\bminerad[oa]s?\b", r"\bminerou\b", r"\bprodott[oi]\b", r"\bprodu(?:zione|sse)\b", r"\bminat[oi]\b", r"\bestratt[oi]\b", "произве[лд]\\w*", "добы[лчт]\\w*", "намайн\\w*", "产量|產量|挖出|挖得|开采|開採|生产|生產|产出|產出|挖矿量|挖礦量|挖矿所得|挖掘", "生産|採掘|マイニング(?:量|した)|채굴")
SOLD = _p(r"\bs[oe]ld?l?(?:s|ing)?\b(?<=sold)|\bsell(?:s|ing)?\b", r"\bsales?\b", r"\bdivest\w*", r"\bliquidat(?:ed|ion|ing)\b", r"\bdispos(?:ed|als?)\b", r"\bmoneti[sz](?:ed|ation|ing)\b", r"\bconverted\b", r"\boffload\w*", r"\bverkauf\w*", r"\bverkäufe?\b", r"\bveräußer\w*", r"\bvend(?:u|ue|us|ues|ió|id[oa]s?|eu|uto|uti)\b", r"\bvent[ea]s?\b", r"\bcédé\w*", r"\bvendit[ae]\b", r"\bvend(?:ere|er|re)\b", "прода[лнжв]\\w*", "реализ\\w*", "出售|卖出|賣出|售出|售出量|减持|減持", "売却|매각|판매|매도")
HELD = _p(r"\bheld\b", r"\bholds?\b", r"\bholdings?\b", r"\bhodl\w*", r"\btreasury\b", r"\breserves?\b", r"\bbalance\b(?! sheet)", r"\bbalance sheet\b", r"\binventory\b", r"\bowned\b", r"\bowns\b", r"\bkept\b", r"\bkeeps\b", r"\bretain(?:s|ed)\b", r"\bin possesso\b", r"\bem posse\b", r"\ben (?:su )?poder\b", r"\bstockpile\b", r"\bstash\b", r"\bscort[ae]\b", r"\briserv[ae]\b", r"\bvorrat\b", r"\bin (?:our |its )?custody\b", r"\bposition\b", r"\bbestand\b", r"\bbestände\b", r"\breserven\b", r"\bhält\b", r"\bhielt\b", r"\bgehalten\w*", r"\bbesaß\b", r"\bbesitzt\b", r"\bbitcoin-bestand\w*", r"\bdétenu\w*", r"\bdétient\b", r"\bdétenait\b", r"\bavoirs?\b", r"\btrésorerie\b", r"\btenencias?\b", r"\breservas?\b", r"\bmantiene\b", r"\bposee\b", r"\bposeía\b", r"\bten[íi]a\b", r"\btiene\b", r"\bcontaba con\b", r"\bavait\b", r"\bpossédait\b", r"\bpossède\b", r"\btinha\b", r"\btesorería\b", r"\bsaldo\b", r"\bdetenut\w*", r"\bdetiene\b", r"\bdetém\b", r"\bpossu[ií]\w*", r"\bdetinha\b", r"\btesouraria\b", r"\btesoreria\b", "баланс\\w*", "владе\\w*", "резерв\\w*", "хран\\w*", "持有|持仓|持倉|持币|持幣|储备|儲備|余额|餘額|库存|庫存", "保有|残高|보유")
OPENING = _p(r"\bbeginning\b", r"\bopening\b", r"\bstart(?:ing)? (?:of|balance)", r"\bprior (?:month )?balance", r"\banfangsbestand", r"\bsaldo inicial", r"\bouverture", r"期初|月初", "期首")
CLOSING = _p(r"\bending\b", r"\bclosing\b", r"\bend(?: of|ed)?\b", r"期末|月末|月底|年底")
PURCHASED = _p(r"\bpurchase[ds]?\b", r"\bacquired\b", r"\bbought\b", r"\bbuys?\b", r"\bkauf\w*", r"\bachet\w*", r"\bcompr(?:ó|ad[oa]s?|ou)\b", r"\bacquis\w*", r"купи\w*", "购买|購買|购入|購入|买入|買入|增持")
LENT = _p(r"\b(?:lent|loaned|lending|on loan)\b", r"\bverliehen\w*", r"\bprêté\w*", r"\bprestad[oa]s\b", "借出|出借|贷出", "貸出")
RESTRICTED = _p(r"\brestricted\b", r"\bpledged\b", r"\bcollaterali[sz]ed\b", r"\b(?:as|held as|posted as|into) collateral\b", r"\bcollateral\b", r"\bencumbered\b", r"\bposted\b", r"\bverpfänd\w*", r"\bsicherheit(?:en)?\b", r"\bnantis\w*", r"\bgarantie\b", r"\bgarantía\b", r"\bpignorad\w*", r"\bgarantia\b", "质押|質押|抵押|受限", "担保|差入")
UNRESTRICTED = _p(r"\bunrestricted\b", r"\bunencumbered\b", r"\bunpledged\b", r"\bfree of\b", r"未质押|未質押|未抵押|非受限", r"\bunbelastet\w*")
EQUIVALENT = _p(r"\bequivalents?\b", r"\bfrom (?:estimated )?power sales\b", r"\bpower sales\b", r"\bäquivalent\w*", r"\béquivalents?\b", r"\bequivalentes?\b", "等价|当量|等值", "相当")
POWER = _p(r"\bpower\b", r"\belectricity\b", r"\bélectricité\b", r"\belectricidad\b", r"\beletricidade\b", r"\bel[ée]ctric[ao]\b", r"\belettric\w*", r"\benergy\b", r"\bcurtail\w*", r"\bcredits?\b", r"\bstrom\w*", r"\bénergie\b", r"\benerg[ií]a\b", "电力|電力|电费|電費|电价|電價")
JOINT = _p(r"\bjoint[- ]ventures?\b", r"\bjvs?\b", r"合资|合資", r"\bempresa conjunta\b", r"\bcoentreprise\b", r"\bgemeinschaftsunternehmen\b")
CUSTOMERS = _p(r"\bcustomers?\b", r"\bclients?\b", r"\bhost(?:ed|ing)\b", r"\bcolocation\b", r"\bthird[- ]part(?:y|ies)\b", r"\bcloud[- ]mining\b", r"\bkunden\b", r"\bclientes\b", "客户|客戶|托管|云算力|第三方")
PER_DAY = _p(r"\bper (?:calendar )?day\b", r"/ ?day\b", r"\bdaily\b", r"\ba day\b", r"\beach day\b", r"\bpro tag\b", r"\bje tag\b", r"\btäglich\w*", r"\btages(?:durchschnitt|produktion)\w*", r"\bpar jour\b", r"\bquotidien\w*", r"/ ?jour\b", r"\bpor día\b", r"\bpor dia\b", r"\bdiari[oa]s?\b", r"\bal día\b", r"/ ?día\b", r"\bal giorno\b", r"\bgiornalier\w*", r"в день", r"в сутки", r"\bсуточн\w*", "每日|日均|每天|日产|日產|/天|/日", r"(?<![\d月])1日(?!時点|現在|から|に|の)|日次|一日(?!時点)|일일|하루")
PER_BTC = _p(r"\bper (?:self-mined |mined |produced )?(?:bitcoin|btc|coin)\b", r"/ ?(?:btc|bitcoin)\b", r"\bper bitcoin\b", r"\ba coin\b", r"\beach\b", r"\bpro (?:bitcoin|btc)\b", r"\bje (?:bitcoin|btc)\b", r"\bpar (?:bitcoin|btc)\b", r"\bpor (?:bitcoin|btc)\b", r"\bper btc\b", "每枚|每个比特币|/枚")
PER_EH = _p(r"\bper (?:average )?(?:eh|exa-?hash|avg\.? eh)", r"\b(?:btc|bitcoin) ?/ ?(?:avg\.? ?|average )?eh\b")
AVERAGE = _p(r"\baverag(?:e|ed|es|ing)\b", r"\bavg\b\.?", r"\bmean\b", r"\bdurchschnitt\w*", r"\bmoyen(?:ne)?s?\b", r"\bpromedio\b", r"\bmedi[oa]s?\b", r"\bmédi[oa]s?\b", "средн\\w*", "平均|均", "평균", r"ø", r"\breali[sz]ed hash")
HASHRATE = _p(r"\bhash ?-?rates?\b", r"\bhash power\b", r"\bcomput(?:ing|ational) power\b", r"\bmining power\b", r"\bhashpower\b", r"\bhashing power\b", r"\bhashing\b", r"\bhash\b", r"\btaux de hachage\b", r"\btasa de hash\b", r"\btaxa de hash\b", r"\bpuissance de (?:calcul|hachage)\b", r"\bhashleistung\b", r"\brechenleistung\b", r"\bpotencia de hash\b", r"\bmining capacity\b", r"\bself-mining capacity\b", r"\bexa-?hash(?:es)?\b", r"\beh/s\b", r"\bph/s\b", r"хеш\w*", r"хэш\w*", "算力|哈希率|哈希", "ハッシュレート|ハッシュパワー|해시레이트")
OPERATING = _p(r"\boperat(?:ing|ional)\b", r"\bonline\b", r"\brunning\b", r"\bactive\b", r"\brealis?z?ed\b", r"\bbetrieb\w*", r"\ben service\b", r"\bopérationnel\w*", r"\boperativ[oa]s?\b", r"\bem operação\b", r"\boperacional\b", r"\bhashing\b", "运营|運營|运行|在线|實際|实际|营运|操作", "稼働|運用|運営")
RATED = _p(r"\bdeployed\b", r"\binstalled\b", r"\benergi[sz]ed\b", r"\bcapacity\b", r"\bnameplate\b", r"\bpeak\b", r"\bcurrent\b", r"\bactive\b", r"\brated\b", r"\btotal hash", r"\bplugged[- ]in\b", r"\binstallier\w*", r"\bbereitgestellt\w*", r"\beingesetzt\w*", r"\bkapazität\b", r"\binstallée?s?\b", r"\bdéployée?s?\b", r"\bcapacité\b", r"\bcapacità\b", r"\binstalad[oa]s?\b", r"\bdesplegad[oa]s?\b", r"\bcapacidad\b", r"\bcapacidade\b", r"\bimplantad[oa]\b", r"\binstallat[oa]\b", "部署|已部署|装机|裝機|安装|安裝|总算力|總算力|已安装", "設置|導入|配備|설치")
MONTH_END = _p(r"\bmonth[- ]end\b", r"\bend of (?:the )?(?:month|period|quarter)\b", r"\bat (?:the )?end\b", r"\bby the end\b", r"\bas (?:of|at)\b", r"\bended\b", r"\bmonatsende\b", r"\bende\b", r"\bfin de mes\b", r"\bfin du mois\b", r"\bfin du\b", r"\bfim do mês\b", r"\ba finales\b", "月末|月底|截至|期末")
MANAGED = _p(r"\bunder (?:its |our )?management\b", r"\bmanaged\b(?! to\b)", r"\bmanaging (?:hash|computing)", r"\bverwaltet\w*", r"\bsous gestion\b", r"\bbajo gestión\b", "管理(?:的)?算力|管理总算力|管理")
SELF_OWNED = _p(r"\bself-?owned\b", r"\bowned hash", r"\bproprietary hash", r"自有|自营|自營", r"\beigene\w*")
POTENTIAL = _p(r"\bpotential\b", r"\bin[- ]transit\b", r"\bpotentiel\w*", r"\bpotencial\b", "潜在")
FUTURE = _p(r"\btarget(?:s|ed|ing)?\b", r"\bexpect(?:s|ed|ing)?\b", r"\bplans?\b|\bplanned\b", r"\bguidance\b", r"\bforecast\w*", r"\bwill\b", r"\bon track\b", r"\bgoals?\b", r"\baims?\b", r"\bupcoming\b", r"\bproject(?:ed|s)\b", r"\bscheduled\b", r"\banticipat\w*", r"\bcontracted\b", r"\bpipeline\b", r"\bpurchase (?:order|agreement)", r"\bcould\b", r"\bwould\b", r"\boption\b", r"\bintend\w*", r"\bonce\b", r"\bgeplant\w*", r"\bziel\w*", r"\berwartet\w*", r"\bobjecti[fv]\w*", r"\bprévu\w*", r"\bprevé\b", r"\bmeta\b", "预计|預計|计划|計劃|目标|目標|将达|將達|有望", "予定|目標|見込")
NETWORK = _p(r"\bnetwork\b", r"\b(?:global|worldwide|network-wide) (?:bitcoin |btc )?(?:hash|network|mining)", r"\bdifficulty\b", r"\bhash-?price\b", "全网|全網|ビットコイン全体|ネットワーク")
MACHINES = _p(r"\bminers?\b", r"\bmachines?\b", r"\brigs?\b", r"\bfleet\b", r"\bservers?\b", r"\basics?\b", r"\bmineros\b", r"矿机|礦機")
EFFICIENCY = _p(r"\befficien\w*", r"\beffizienz\w*", r"\bd'efficacité\b|\befficacité\b", r"\beficiencia\b", r"\beficiência\b", r"\befficienza\b", r"j ?/ ?th\b", r"w ?/ ?th\b", r"watts?/th\b", "能效|效率", "эффективн\\w*")
PRICE = _p(r"\bprices?\b", r"\bpreis\w*", r"\bprix\b", r"\bprecio\b", r"\bpreço\b", r"\bprezzo\b", "价格|價格|均价|均價|售价|售價", "単価|価格", r"\bцен\w*")
PROCEEDS = _p(r"\bproceeds\b", r"\bnetting\b", r"\bnetted\b", r"\bgenerat(?:ing|ed)\b", r"\berlös\w*", r"\bproduit (?:net|de)\b", r"\bingresos (?:netos )?(?:por|de) (?:la )?ventas?\b", r"\brecaud\w*", r"所得款|所得|收入|套现|套現", "выруч\\w*")
REVENUE = _p(r"\brevenues?\b", r"\bturnover\b", r"\bumsatz\w*", r"\bumsätze\b", r"\brevenus?\b", r"\bchiffre d'affaires\b", r"\bingresos\b", r"\breceitas?\b", r"\bricavi\b", "收入|营收|營收", "売上|収益", r"\bвыручк\w*|\bдоход\w*")
COST = _p(r"\bcosts?\b", r"\bexpenses?\b", r"\bcharges?\b", r"\bkosten\b", r"\bcoûts?\b", r"\bcostos?\b", r"\bcostes?\b", r"\bcustos?\b", r"\bcosti?\b", "成本|费用|費用", r"\bhashcost\b", "コスト")
CASH = _p(r"\bcash\b", r"\bcash-based\b", "现金|現金", r"\bliquid\w* cost", r"\bexcluding depreciation\b", r"\bcash-basiert\w*")
ALL_IN = _p(r"\ball[- ]in\b", r"\bincluding depreciation\b", "全部成本|综合成本")
CREDITS = _p(r"\bcredits?\b", r"\bgutschrift\w*", r"\bcrédits?\b", r"\bcréditos?\b", "抵扣|补偿|電力信用|电力信用")
DEMAND_RESPONSE = _p(r"\bdemand[- ]response\b", r"\bancillary\b", "需求响应")
EQUITY = _p(r"\bequity\b", r"\batm\b", r"\bat-the-market\b", r"\bshares?\b(?! of)", r"\bstock\b", r"\bnotes?\b", r"\boffering\b", r"\bequipment\b", r"\bproperty\b", r"\bsubsidiar\w*", r"\bfinancing\b")
BLOCKS = _p(r"\bblocks?\b", "区块|區塊", r"\bbloques\b", r"\bblöcke\b", r"\bblocs\b")
FEES = _p(r"\btransaction fees?\b", r"\btx fees?\b", r"\bfees? as\b", "交易费|手续费")
SERVICE_FEE = _p(r"\bservice fees?\b", r"\bpool fees?\b", r"\bmanagement fees?\b", r"\bhosting fees?\b", r"\bfees? paid\b", "服务费")
YTD = _p(r"\bytd\b", r"\byear[- ]to[- ]date\b", r"\bcy ?20\d\d\b", r"\bfy ?20\d\d\b", r"\bso far (?:this|in 20)", r"\bsince (?:january|the (?:beginning|start) of)", r"\bthis year\b", r"\bcalendar(?: year)? 20\d\d\b", r"\bfiscal(?: year)? 20\d\d\b", r"\bseit jahresbeginn\b", r"\bdepuis le début\b", r"\ben lo que va\b", r"\bda(?:ll\W)?\s?inizio (?:dell\W)?anno\b", r"\bno acumulado\b", r"\bdesde el inicio\b", r"\bс начала года\b", r"\bacumulad[oa]\b", r"年初至今|今年以来|累计", "年初来|年初から|これまでに", "올해 (?:들어|누적)")
DELTA = _p(r"\bincreas(?:e|es|ed|ing)\b", r"\bdecreas(?:e|es|ed|ing)\b", r"\bchange\b", r"\bgrowth\b", r"\bvariance\b", r"\bdifference\b", r"增长|下降|增幅|变化|環比|环比|同比")
VALUE = _p(r"\bvalue[ds]?\b", r"\bworth\b", r"\bfair value\b", r"\bmarket cap", r"\bwert\w*", r"\bvaleur\b", r"\bvalor(?:ad[oa]s)?\b", "价值|價值|市值|公允", "時価")
SHARE = _p(r"\bshare of\b", r"\bpercent(?:age)? of\b", r"\b% of\b", r"占比|比例|份额", r"\bproportion\b")
BESIDES_FLEET = _p(r"\border(?:ed)?\b", r"\bdeliver(?:ed|y)\b", r"\breceived\b", r"\bawaiting\b", r"\btransit\b", r"\bstorage\b", r"\bspare\b", r"\bfailed\b", r"\bpurchase\w*", r"\bacquir\w*", r"\bretired\b", r"\bsold\b", r"\bnew\b", r"\badditional\b")
# fmt: on
