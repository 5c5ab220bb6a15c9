"""What one clause of a reply says, by the classes of its words in their order: its *shape*.

Rules of this file: a table and nothing else; the first row whose shape fits the whole clause counts, and each
row has an example (a test reads them). Shapes are regular expressions over the signs of reply_words.CLASSES.
`~` stands for any words that say nothing against the sentence (fillers, politeness, wishes, again), `=` for
those and the rest that may stand around a demand (things that are sent, only, abuse, a no, a threat). X, an
unknown word, fits only where `.` or `[^…]` lets it.
"""

from typing import NamedTuple

MILD = "[FPDab]*"
AROUND = "[FPDabOgYojhHTu]*"


class Sentence(NamedTuple):
    """`says` is what replies.py puts together; `shape` has no capturing groups."""

    says: str
    shape: str
    example: str

    @property
    def expression(self) -> str:
        return self.shape.replace("~", MILD).replace("=", AROUND)


SENTENCES = (
    # a code and nothing else; an instruction copied or followed
    Sentence("code", "[Ph]*(?:C|CCC+|K1?|KK+|w)[Ph]*", "TD 3，谢谢"),
    Sentence("hint", "~[VS]F*(?:C|K1?|W)P*", "我回T"),
    Sentence("hint", "P*V?[CK](?:w|W[Og]*)P*", "回复T退订"),
    Sentence("hint", "P*W[PV]*[VS]?[CKW]P*", "拒收请回复R"),
    # what looks like another sentence and is none
    Sentence("unknown", ".*U.*[CK].*", "不小心回了T"),
    Sentence("unknown", ".*[MBNZ]~I.*", "不要再打错了"),
    Sentence("unknown", ".*M~B.*", "不要不发"),
    Sentence("unknown", "[^SRtyvme]*[MB][^SRtyvme]*T.*", "别拉黑我"),
    # the number is somebody else's
    Sentence("wrong", "[^L]*I[^QJ]*", "你打错了"),
    # messages are wanted again; a slip, told in a clause of its own
    Sentence("accept", "[FPDaU]*A+[FPaOUE]*", "我要重新订阅"),
    Sentence("accept", "[FPDaU]*E[FP]*[OgmA]*[FPaUE]*", "请恢复短信"),
    Sentence("accept", "[FPDa]*U~[WKC][FPaUE]*", "不小心退订了请恢复"),
    Sentence("accept", "~W~U[FPaE]*", "退订按错了"),
    Sentence("accept", "[FPDj]*e[FPaO]*", "可以继续发"),
    Sentence("slip", "~U~", "误操作"),
    # service is to go on
    Sentence("keep", ".*s.*[ke][FPaj]*", "还款提醒照发"),
    # it was not asked, or can't be
    Sentence("unclear", "[FPabj]*L~[WA][FPaOgJj]*", "我没退订过"),
    Sentence("unclear", "[FPDabQJj]*l~W[FPaJ]*", "为什么不能退订"),
    Sentence("unclear", "[FPDabQJj]*W[FPabQJj]*l[FPaJ]*", "怎么退订不了"),
    Sentence("no", ".*[MBNZLH].*[Wr].*", "没说要退订"),
    Sentence("no", "~[MBNZL][FPDaV]*[CK]~", "我没回T"),
    # a word that asks by itself
    Sentence("ask", "[FPDabOgYohT]*W[FPabojOgYStymvWhHTu1]*", "麻烦退订一下短信"),
    Sentence("ask", "[FPDabOgYohT]*(?:W|VF*[CK])~Q~[Stye][FPabOgY]*J?", "都退订了怎么还发"),
    Sentence("ask", "[FPDabOgYohT]*(?:W|VF*[CK])~b~[Stye][FPabOgY]*", "回了T还发"),
    Sentence("ask", "[PDh]*F?r[Ph]*", "我拒绝"),
    Sentence("ask", "[FPDabOgYoh]*r[FPDabo]*[OgYSRtyvm][FPabOgYSRtymh]*", "拒绝任何广告"),
    # a code or a word that is talked about
    Sentence("about", ".*[CK].*[QJ].*|.*[QJj].*[CK].*", "回T是什么意思"),
    Sentence("unclear", "[^XGCK]*[QJj][^XGCK]*W[^XGCK]*|[^XGCK]*W[^XGCK]*[QJj][^XGCK]*", "怎么退订"),
    Sentence("unclear", "[FPDab]*Q~j~[BM]~[SRtye][FPaOgYJ]*", "怎么才能不收到"),
    Sentence("unclear", "~Q[FPDaj]*[wT][FPaO]*J?", "怎么退"),
    # what is not to be done any more
    Sentence("demand", "(?:P*[CKW])?=M[FPDabjOgYh]*[SRtye][FPabojOgYSRtymvhHTukG]*", "别再给我发短信了"),
    Sentence(
        "demand", "=M[FPDabOgYh]*[SRtye][FPabOgYh]*M[FPDabOgYh]*[SRtye][FPabOgYh]*", "别打电话也别发短信"
    ),
    Sentence("demand", "=j=M[FPDabOgY]*[SRtye][FPabojOgYSRtymvhHTukG]*J*P*", "能不能别发了？"),
    Sentence("demand", "[^LNBZQJjMIWCKnG]*M~[Stye][FPabh]*", "已经还清不要再发"),
    Sentence("demand", "[FPaboh]*[OgYy][FPOgYy]*M[FP]*", "短信电话都不要"),
    Sentence("demand", "[FPDaboh]*M[FPDa]*[OgYy][FPaOgYh]*", "不要短信"),
    Sentence("demand", "[FPDabOgYohH]*B[FPDabOgo]*[ROgY][FPaOgYGShHT]*", "我不想再收到你们的短信"),
    Sentence("demand", "[^PLNMBZQJjn]*[ae][FPa]*[SRe][^PLNMBZQn]*T[FPTu]*", "再发投诉你们"),
    Sentence(
        "demand", "[^PLNMBZQJjn]*[ae][FPa]*[tyOgY][^PLNMBZQn]*F[^PLNMBZQn]*T[FPTu]*", "再打电话我就报警"
    ),
    # what may go on
    Sentence("allow", "[FPDaOj]*[tymv][FPj]*", "有事发短信"),
    # dislike without a demand
    Sentence("dislike", "[FPDabOgY]*Q[FPabJD]*b[FPabD]*[Stye][FPabOgYJ]*", "为什么老给我发"),
    Sentence("dislike", "[FPOgY]*b~[Stye][FPabOgYQ]*", "又发"),
    Sentence("dislike", "[FPDabOgYj]*[HhTMBZ][FPDabOgYjHhTMBZG]*", "不需要，谢谢"),
    Sentence("dislike", "[FPabOgYjJStyQ]*h[FPabOgYjJhStyQ]*", "天天发烦不烦"),
    Sentence("dislike", "[FPDaQ]*q[FPaq]*", "取消"),
    Sentence("dislike", "~j~q[FPaJ]*", "可以取消吗"),
    Sentence("dislike", "l[FP]*", "不了，谢谢"),
    Sentence("dislike", "~Z~[SRtyve][FPaOgY]*", "不用发了"),
    Sentence("dislike", "[^QJMBLNZ]*[Tu][^QJMBLNZ]*", "小心我投诉"),
    # nothing
    Sentence("polite", "[FPj]*", "谢谢"),
    # what may refuse and is not understood
    Sentence("unclear", "[FPDVSa]*[CK][P19WVSaCK]*", "T1"),
    Sentence("unclear", "[^XGs]*W[^XGs]*|[^XGsQJD]*r[^XGsQJD]*", "退订需要"),
    Sentence("unclear", ".*M.*[SRtyvme].*", "别发给我老板"),
)
