"""What one clause of a reply says, by the classes of its words in their order: its *shape*.

Rules of this file: a table and nothing else; the first row whose shape fits the whole clause counts, and each
row has an example (a test reads them). Shapes are regular expressions over the signs of reply_words.CLASSES.
`~` stands for any words that say nothing against the sentence (fillers, politeness, wishes, again), `=` for
those and the rest that may stand around a demand (things that are sent, only, abuse, a no, a threat), `&` for
what messages are about (贷款 in 贷款广告). `F` stands for all classes of fillers, `B` for both of refraining,
`M` for both of wanting an end. X, an unknown word, fits only where `.` or `[^…]` lets it.
"""

from typing import NamedTuple

from gateway.policy.reply_words import KINDS_OF_FILLERS

MILD = "[FpPDab]*"
ABOUT = "G+[Fp]*(?=[OgY])"
AROUND = "(?:[FpPDabOgYojhHTu]|&)*"
KINDS = {"F": KINDS_OF_FILLERS, "B": "!", "M": "σ", "I": "κ", "X": "Λπψ", "s": "ς"}


class Sentence(NamedTuple):
    """`says` is what replies.py puts together; `shape` has no capturing groups."""

    says: str
    shape: str
    example: str

    @property
    def expression(self) -> str:
        shape = self.shape.replace("~", MILD).replace("=", AROUND).replace("&", ABOUT)
        spelled, within = "", False
        for sign in shape:
            within = sign == "[" or (within and sign != "]")
            kinds = sign + KINDS.get(sign, "")
            spelled += kinds if within or kinds == sign else f"[{kinds}]"
        return spelled


SENTENCES = (
    # what somebody would do
    Sentence("demand", "~[B][FpPab]*W[FpP]*T[FpPTu]*", "不退订就投诉"),
    Sentence("demand", "[FpP]*b[Fp]*[Sty][FpPOgY]*ι[FpPab]*T[FpPTu]*", "还发就投诉你"),
    Sentence("unclear", "[FpP6]*a[FpPa]*[SRty][FpPOgY1X]*W[pP]*", "再发我就退订了"),
    Sentence("how", "P*[CK]J[p]*", "R？"),
    Sentence("how", "[FpPDab]*[CK][FpP]*Q[FpP]*S.*", "T怎么打出来"),
    Sentence(
        "unclear",
        "[FpPOg]*3[FpPOg]*6[FpPOg]*(?:W|[VS][FpP1]*[CK])[FpP]*|[FpPOg]*6[FpPOg]*[V][FpP1]*[CK][FpP]*",
        "老公你把这个退订一下",
    ),
    Sentence("tried", "[FpP]*V[FpP19X@]*l[FpP]*", "我回了三次都没用"),
    Sentence("earlier", "[FpPDab]*<[FpPDab]*V[FpP]*[CK][FpPOgY]*", "上个月就回过T了"),
    Sentence("ask", "P*[Ww][FpP]*V[CK][FpP]*<?[FpP]*V[FpP]+", "退订回TD我已经回过了"),
    Sentence("unknown", "[^LMBZN]*0[^IMLBZN]*[XGsf19][^IMLBZN]*I.*", "你们把金额发错了"),
    Sentence("unclear", "[FpP6X19]*[λΛ][FpPOXΛ19τ]*M[FpPa]*[StyeY][FpPOY0]*", "晚上别打电话"),
    Sentence("ask", "[FpPDab]*(?:g[FpPOgY@]*|[OY][FpPOgY]*@[F]*)r[FpP]*", "营销类的全部拒绝"),
    Sentence("demand", "[FpPDabOgYohH]*H[FpP]*@[FpP]*[OgY][FpPOgY]*", "我不需要你们的任何短信"),
    Sentence("demand", "[FpP]*M[FpP]*s[FpP@]*M~[Stye][FpP]*", "只要不是账单都别发"),
    Sentence("ask", "[FpPDab]*(?:O[Fp]*P|P[FpP]*O)[FpP]*q[FpP]*", "短信请停"),
    Sentence("ask", "~0[FpPOgY6]*S?z[FpP]*x[FpP]*", "把我号码从群发列表里去掉"),
    Sentence("unclear", "[FpPXabτλ]*4[FpPab]*M[FpPa]*[Stye][FpPOY0]*", "孩子睡了别打电话"),
    Sentence("dislike", "[pP]*H[F]*Q[p]*", "退订链接在哪"),
    Sentence("how", "[FpP]*V[FpP]*Q[FpPj]*[B][aFp]*R[FpPOg]*J?", "回什么能不收到"),
    Sentence("how", "[FpPj]*(?:[OgY][FpPOgY]*)?Q[FpPj]*q[FpPOgY]*J?", "怎么取消这个短信"),
    Sentence("unclear", "[FpP6j]*M[FpPab]*λ[FpP]*[Stye][FpPOY0]*", "别一大早发"),
    Sentence("unclear", "[FpP6]*M[FpPab]*[Stye][F0]*λ[FpP]*", "别打那么晚"),
    Sentence("moved", "[FpP]*I[FpP]*9[FpP]*", "新号13800000001"),
    Sentence(
        "dislike",
        "λ[X19FpP]*b[FpP]*[Sty][FpPOgYQJ]*|b[FpP]*[Sty]?[FpP]*[X19][FpP]*[OgY][FpP]*",
        "晚上十点了还发",
    ),
    Sentence("ask", "P*_[pP6]*[FpP0]*W[FpP]*", "小姐姐帮我退订下"),
    Sentence("ask", "[FpPDab]*o[FpP]*w[FpP]*g[FpPOg]*", "只退营销"),
    Sentence("unclear", "[FpPabj]*L~V?[WA][FpPaOg]*Q.*", "我没退订怎么收不到了"),
    Sentence("unclear", "[^MNZLQJj]*[XB][^MNZLQJjF]*[ι][FpP0]*W[pP]*", "利率不降到3%我就退订"),
    Sentence("unknown", "[FpP]*[8][FpP]*", "如果"),
    Sentence("unclear", "[^BMNLZQJjCK]*8[^BMNLZQJjCKU]*W[p]*", "要是涨价我退订"),
    Sentence("unknown", ".*8.*[WrCKw].*", "如果我回R"),
    # a code and nothing else; an instruction copied or followed
    Sentence("code", "[Ph]*(?:C+|K1?|KK+|w)[pPhH]*", "TD 3，谢谢"),
    Sentence("hint", "~O?[VS][Fp]*(?:C|K1?|W)[pP]*", "我回T"),
    Sentence("hint", "P*[VS]?[CK][Fp]*(?:w|W[Og]*)[pP]*", "回复T退订"),
    Sentence("hint", "P*[Ww][PV]*[VS]?(?:[CKW]|CC)[pP]*", "拒收请回复R"),
    Sentence("hint", "P*V?K[Og]+[pP]*", "TD短信"),
    Sentence("hint", "P*V?[CK]V[pP]*", "编辑TD回复"),
    Sentence("hint", "P*V?[CK]q[pP]*", "回复TD取消"),
    Sentence("hint", "P*V[CK]S[F]*9?[FpP]*", "编辑TD发送到10690000"),
    Sentence("hint", "P*(?:O|o?g[F]*)[CK][pP]*|P*o?[CK]g[FpP]*", "广告TD"),
    Sentence("hint", "P*(?:@[F]*[CK]|V?[CK]@[FOgY]*)[pP]*", "TD全部"),
    Sentence("quotes", "[FpPX]*O[FpPXn]*(?:W[PV]*V[CK]|V[CK]W)[FpP]*", "你们短信写的拒收请回复R"),
    # what looks like another sentence and is none
    Sentence("accept", "[FpPDa]*U[FpPDabV]*[CK][FpPa]*E[FpPaOgE]*", "误回了R请恢复"),
    Sentence("slip", ".*U.*[CK].*", "不小心回了T"),
    Sentence("mistake", "[^M]*[CK][^M]*U[FpP]*", "刚才的T是孩子乱按的"),
    Sentence("unknown", ".*[MBNZ]~I.*", "不要再打错了"),
    Sentence("unknown", ".*M~[B].*", "不要不发"),
    Sentence("unknown", "[^M]*M[^M]*[Stye][FpPab]*f.*", "别打钱"),
    Sentence("unknown", "[^N]*N[FpPD]*M.*", "没说不要发"),
    # what follows was said by somebody else
    Sentence("told", "[^M]*[i3O][FpP]*n[FpP]*", "他说"),
    Sentence("unknown", "[^M]*[i3O][FpPabD]*n.*|[FpP]*[i3][FpPabD]+(?:W[FpP]*|M.*)", "她叫我退订"),
    Sentence("unknown", "[^M]*M[^M]*[Stye].*3[^M]*|[^M]*M[^M]*3[^M]*[Stye][^M]*", "别打给我老婆"),
    Sentence("unknown", "[^SRtyvme]*[MB][^SRtyvme]*T.*", "别拉黑我"),
    Sentence("unclear", "[^MaB#hCKW]*τ[FpPb]*M[^Ma#hT]*", "现在别打电话"),
    Sentence("unclear", "[FpP]*M[FpP]*τ[FpP]*[Stye][FpPOY0]*", "别现在打"),
    Sentence("unclear", "[FpP6]*τ[Fp]*a[Fp]*W[pP]*", "明天再退订"),
    Sentence("unknown", "[FpP]*M[FpPa]*Su[FpP]*", "别打110"),
    Sentence("unknown", "[^M]*M[^M]*[Stye][F]6[pP]*", "别打电话给银行"),
    Sentence(
        "unclear", "[^M]*M~[Stye][FpPbOY]*(?:[λτ][FpP]*a|Λ[FpP]*a?)[FpP]*[Stye][FpPOY]*", "上班别打晚上再打"
    ),
    Sentence("unclear", "[FpP]*λ[FpP]*M~[Stye][FpPOY]*λ[FpP]*[Stye][FpPOY]*", "白天别打晚上打"),
    Sentence("later", "[FpP19X]*(?:[λτ][FpP19]*a|Λ[FpP]*a?)[FpP]*[Stye][FpPOY]*", "晚上再打"),
    Sentence("later", "[FpP19]*[Λλτ][FpP]*[ψ][FpP]*", "明天再说"),
    # the number is somebody else's
    Sentence("wrong", "[^L]*I[^QJ]*", "你打错了"),
    Sentence("wrong", "[FpPDabUniOgYX3Gf]*`[FpPDabdMStyeROgYiI3HGfs]*(?:9[FpP]*)?", "这个号不是我"),
    Sentence("wrong", "[^LMQJj]*i[FpPDab]*d[^QJ]*", "机主早就换了"),
    # messages are wanted again; a slip, told in a clause of its own
    Sentence("accept", "[FpPDaU]*A+(?:[FpPaOgUE]|&)*", "我要重新订阅"),
    Sentence("accept", "[FpPDaU]*E(?:[pP0U]*|[FpP]*(?:[OgmA]+[SR]?|[tS])[FpPaUE]*)", "请恢复短信"),
    Sentence("accept", "[FpPDa]*[q/][FpP]*<[FpP]*W[FpP]*", "取消之前的退订"),
    Sentence("accept", "~0~[Og]+[FpP]*E[pP]*", "把我的短信恢复"),
    Sentence("accept", "[FpPDa]*U[FpPDabV]*[WKC][FpPaUE]*", "不小心退订了请恢复"),
    Sentence("accept", "~W~U[FpPaE]*", "退订按错了"),
    Sentence("accept", "[FpPDj]*e(?:[FpPaOg]|&)*", "可以继续发"),
    Sentence("accept", "[FpP]*D[FpP]*R[FpPOg]*a[FpP]*", "I want to receive your messages again"),
    Sentence("accept", "[FpPDa]*(?:E[FpP]*|a[FpP]*)R[FpPOg]*", "我想重新收到你们的短信"),
    Sentence("mistake", "~U~", "误操作"),
    # service is to go on
    Sentence("keep", ".*s.*[ke][FpPaj]*|[FpP]*k[FpP]*s[FpPO]*", "还款提醒照发"),
    Sentence("accept", "[FpPDa]*W[FpP]*z[FpP]*x[FpP]*", "把我从拒收名单里移出来"),
    Sentence("how", "[FpP]*J?[FpP]*V[FpP]*[CK][FpP8]*[B][FpPa]*[Sty][FpPaOgY]*J?[FpP]*", "是不是回T就不发了"),
    Sentence("no", "~[MBNZ]~q[FpPDab0OgYmGf]*", "别取消我的短信通知"),
    Sentence("about", ".*[WCK].*:.*|.*:.*[WCK].*", "拒收是啥意思"),
    # it was not asked, or can't be
    Sentence("unclear", "[FpPabj]*L~V?[WA][FpPaOgJj]*", "我没退订过"),
    Sentence("how", "[FpPDabQJj]*l~W[FpPaJ]*", "为什么不能退订"),
    Sentence("how", "[FpPDabQJj]*W[FpPabQJj]*l[FpPaJ]*", "怎么退订不了"),
    Sentence("unclear", "[^MBNZL]*Hp*P[FpP]*W[FpPaOg]*", "不感兴趣请退订"),
    Sentence("how", "[FpP]*N[FpP]*W[F]*p+J[pP]*", "不是退订了吗"),
    Sentence("no", ".*[MBNZLH].*[Wr].*", "没说要退订"),
    Sentence("no", "~[MBNZL][FpPDaV]*[CK]~", "我没回T"),
    # a word that asks by itself
    Sentence("earlier", "[FpPDab]*<[FpPDabU]*W[FpPOgY]*", "之前退订了"),
    Sentence("ask", "[FpPOg]*@[F]*wP*|[FpP]*[Og]+[FpP]*@[F]*w[FpP]*", "短信全退了"),
    Sentence("ask", "1W[pP]*", "1.退订"),
    Sentence("ask", "(?:[FpPDabOgYohT]|&)*W(?:[FpPabojOgYStymvWhHTu1]|&)*", "麻烦退订一下短信"),
    Sentence("ask", "[FpP]*2[FpP]*s[FpPO]*W[FpPOg]*", "除了验证码其他都退订"),
    Sentence("ask", "R[Fp]*P[FpP]*W[FpPOgY]*", "收到请停发"),
    Sentence("ask", "~q[FpP]*(?:[Og]+[SR]?|[St])[FpPa]*", "关闭此短信推送"),
    Sentence("ask", "[FPDab]*(?:[P0][FPab]*[Og]+|[Og]+[F]*[0])[FpPab]*q[FpP]*", "请把广告短信给我取消掉"),
    Sentence("ask", "~(?:g[Og]*|0[FpP]*O|O[FpP]*0)[FpP]*w[FpP]*", "营销短信退掉"),
    Sentence("ask", "~(?:O[FpP]*Y|Y[FpP]*O)[FpP]*q[pP]*", "电话短信都停掉"),
    Sentence("ask", "~[q/][FpPR]*[OgY]+[FpP]*[;D][FpP]*", "我撤回对营销短信的授权"),
    Sentence("ask", "~W[FpP6Og]*z[FpPa]*", "将我移出你们的营销名单"),
    Sentence("ask", "~[OgY]*(?:z~x|x~[OgY]*z)[FpPa]*", "请从名单里去掉"),
    Sentence(
        "how",
        "[^Q]*(?:W|K|[VS][Fp]*[CK])[^QWCK]*8[^QWCK]*[RStyeOY][^QWCK]*J[^QWCK]*",
        "退订以后还会收到短信吗",
    ),
    Sentence(
        "ask",
        "[FpPDabOgYohT]*(?:[VS]?[Fp]*W|K|[VS][Fp]*[CK]W?)(?:(?:~p~Q|~Q~[ba])~[RStye]|~pQh[OgY])[FpPabOgY]*J?",
        "都退订了怎么还发",
    ),
    Sentence("ask", "[FpPDabOgYohT]*(?:[VS]?[Fp]*W|K|[VS][Fp]*[CK]W?)~b~[RStye][FpPabOgY]*J?", "回了T还发"),
    Sentence("ask", "~W[FpP]*σ[FpPa]*[SgOY][FpPOgY]*", "请删除我的信息并停止营销"),
    Sentence("ask", "P+σ[pP]*", "请停止"),
    Sentence("bare", "[PDh]*[Fp]?r[Ph]*", "我拒绝"),
    Sentence("ask", "[FpPDabOgYoh]*r[FpPDabo]*(?:&)?[OgYSRtyvm][FpPabOgYSRtymh]*", "拒绝任何广告"),
    Sentence("unclear", "[FpPOgY19X]*[λτΛ][FpP]*5[FpPj]*", "晚上勿扰"),
    Sentence("quiet", "[FpPDabOgYoHhT#]*5[FpPabOgYhj]*", "请勿打扰，谢谢"),
    # a code or a word that is talked about
    Sentence("how", "[FpPDab]*[VS][FpP]*[CK][FpPba]*l[FpPJ]*", "回T没用"),
    Sentence("how", "[FpP]*[VS][FpP]*[CK][FpP]*j[FpPJ]*", "回T行吗"),
    Sentence("how", "[FpPJ]*[VS]?[CK]bF[VS]?[CK][FpPJ]*", "是发T还是TD"),
    Sentence("how", "[FpP]*J[FpP]*V[FpP]*[CK][FpPj]*[Ww][FpPOJ]*", "是不是回T就退订"),
    Sentence("how", "[FpPVSJ]*[CK][FpP]*j[FpP]*[Ww][FpP]*J[FpP]*", "回T能退订吗"),
    Sentence("about", ".*[CK].*[QJ].*|.*[QJj].*[CK].*", "回T有用吗"),
    Sentence("how", "[^XGf3CK]*[QJj][^XGf3CK]*W[^XGf3CK]*|[^XGf3CK]*W[^XGf3CK]*[QJj][^XGf3CK]*", "怎么退订"),
    Sentence("how", "[FpPDab]*Q~j~[BM]~[OSRtye][FpPaOgYJ]*", "怎么才能不收到"),
    Sentence("how", "[FpP]*Q[FpP]*A[Fp]+", "什么时候订阅的"),
    Sentence("how", "[FpPQD]*j[FpP]*[B][FpPa]*[StyRρ][FpPaOgY]*J?[FpP]*", "可以不发吗"),
    Sentence("how", "P*wJP*", "退？"),
    Sentence("how", "[FpP]*V[FpP]*Q[FpPj]*w[FpPJ]*", "回什么能退"),
    Sentence("how", "[FpPDab]*w[FpP]*l[FpPQJ]*", "退不了"),
    Sentence("how", "~Qj?~σ[FpPOgYSJ]*", "如何停止"),
    Sentence("how", "~Q[FpPDaj]*[wT][FpPaO]*J?", "怎么退"),
    # codes and bills are not stopped by a refusal; who wants none of them has not refused the rest
    Sentence("unclear", "(?!.*[@2oNgY])[FpPab]*ς[FpPOab]*M[FpPa]*[Stye][FpPabO]*", "验证码别发了"),
    # what is not to be done any more
    Sentence("demand", "(?:P*[CK]|~W~)?=M[FpPDabjOgYh]*[SRtye][FpPabojOgYSRtymvhHTukG]*", "别再给我发短信了"),
    Sentence("demand", "[Pp]*_[pP6]*M~[Stye][FpPabhj]*J?", "大哥别发了"),
    Sentence(
        "demand",
        "=M[FpPa]*n(?:[FpP]*R[FpPaOgY]*|[FpPan]*R[FpPa]*[OgY][FpPaOgY]*)",
        "不要再让我看到你们的短信",
    ),
    Sentence("demand", "[FpP]*8?[FpP]*N[FpP]*s[FpP]*M~[Stye][FpPabh]*", "如果不是账单就别发了"),
    Sentence(
        "demand", "=M[FpPDabOgYh]*[SRtye][FpPabOgYh]*M[FpPDabOgYh]*[SRtye][FpPabOgYh]*", "别打电话也别发短信"
    ),
    Sentence("demand", "[FpP]*(?:M[FpPa]*[Stye][FpPah]*){2,}", "别发了别发了别发了"),
    Sentence("demand", "[FpPDabOgYo3]*M[FpPa3]*[Stye][FpP3]*M[FpPa]*[Stye][FpPa]*", "别打公司电话也别给我打"),
    Sentence("demand", "[FpPDabn]*M[FpPa]*b~[Stye][FpPabOgY]*", "都说不要了还发"),
    Sentence("demand", "[FpP]*Q[OgYyG]+[@][FpP]*M~[Stye][FpPabh]*", "什么短信都不要发"),
    Sentence("demand", "[FpP]*[OgYy]+j[FpP]*[OgYy]+[FpP]*M[FpPa]*", "短信可以电话不要"),
    Sentence("demand", "[FpPD]*(?:M[FpPDa]*[OgYy]+[FpP]*){2,}", "不要短信也不要电话"),
    Sentence("demand", "[FpPab]*n6[FpPab]*M~[Stye][FpPabhOgY]*", "叫你们别打了"),
    Sentence("demand", "[^LNBZQJjMIWCKnGf3i_]*M[FpPDb]*a~[Stye][FpPabhOgY]*", "上次柜台已经说过不要再发广告"),
    Sentence("demand", "[FpP]*G+[FpP]*M[FpPa]*0[FpP]*[Sty][FpPh]*", "基金什么的别给我推了"),
    Sentence("demand", "[FpPD]*j[FpP]*[OgY]+[FpP]*M[FpPDa]*[OgYy][FpP]*", "可以短信不要电话"),
    Sentence("demand", "=j=M[FpPDabOgY]*[SRtye][FpPabojOgYSRtymvhHTukG]*J*P*", "能不能别发了？"),
    Sentence(
        "demand",
        "[^NnLQJji83_:IWCK]*[6][FpP]*M[FpPa]*[Sty][FpPabOgYh0]*",
        "我年纪大了请你们不要发信息给我了",
    ),
    Sentence(
        "demand",
        "[FpPDabOgYohH#]*(?:![FpPa]*ρ[FpP]*(?:[OgY][FpPaOgY]*)?|M[FpPa]*ρ[FpP]*[OgY][FpPaOgY]*)",
        "我不想收",
    ),
    Sentence("demand", "(?:[^LNBZQJjMIWCKnGf3_]|Gp)*M~[Stye][FpPabh]*(?:p_)?", "已经还清不要发了"),
    Sentence("demand", "~G+[FpPDa]*H[FpPabh]*M~[Stye][FpPabhj]*", "信用卡我不办别再发了"),
    Sentence("demand", "[FpP]*G+[FpP]*M[FpP]*a[FpP]*[Sty][FpPh]*", "保险的不要再推了"),
    Sentence("demand", "(?:[FpPaboh]|&)*[OgYy][FpPOgYy]*M[FpPa]*", "短信电话都不要"),
    Sentence("demand", "[FpPDaboh]*M[FpPDa]*[OgYy][FpPaOgYh]*", "不要短信"),
    Sentence("unknown", ".*6[pPab]*[B].*", "你不收短信"),
    Sentence("demand", "[FpPDabOgYohH]*![FpPDabOgo]*[ROgY][FpPaOgYGShHT]*", "我不想再收到你们的短信"),
    Sentence("demand", "[FpPDabOgYohHT]*[B][aD]*R[FpPaOgYGShHT]*", "我不接收广告"),
    Sentence(
        "demand",
        "_?[^NnLQJjIiZ83_CKWGf]*#[FpP]*M~[Stye][FpPabhj]*",
        "我不上网以后不要给我发了",
    ),
    Sentence("demand", "[FpPDabOgY]*#[FpPDabGOgY]*Z[Fpa]*[Stye][FpPaOgY]*", "以后有活动不用联系我了"),
    Sentence(
        "demand", "[^PLNMBZQJjn3]*(?:[ae][FpPa]*[SRe]|e|an[FpPa]*R)[^PLNMBZQn3]*T[FpPTu]*", "再发投诉你们"
    ),
    Sentence("demand", "[FpPab]*[ae][FpPa]*[SRet][FpPaOgYhX]*[F][FpPaS]*u[FpP]*", "再发我就打12345"),
    Sentence(
        "demand",
        "[^PLNMBZQJjn3]*[ae][FpPa]*[tyOgY][^PLNMBZQn3]*[F][^PLNMBZQn3]*T[FpPTu]*",
        "再打电话我就报警",
    ),
    # a threat whose other half is another clause
    Sentence("warn", "[FpP]*a[FpPa]*[SRty][FpPOgY1X3]*%?[FpP%]*", "再发一条试试"),
    # refuses beside what is to go on
    Sentence("dropped", "[FpPDab]*(?:[Og]+[F]*|[@])[FpP]*[wq][FpP]*", "推销的停掉"),
    # what may go on
    Sentence("allow", "[FpPDaOj]*[tymv][FpPj]*", "有事发短信"),
    Sentence("allow", "[FpP]*[OY][FpP]*j[FpPSe]*", "电话可以打"),
    Sentence("at", "[FpP]*λ[FpP]*[Stye][FpPOY]*", "晚上打"),
    # dislike without a demand
    Sentence("threat", "[^QJj:MBLNZXGf]*[Tu][^QJj:MBLNZXGf]*", "我要投诉"),
    Sentence("dislike", "[FpPDabOgY]*Q[FpPabJD]*b[FpPabD]*[Stye][FpPabOgYJ]*", "为什么老给我发"),
    Sentence("dislike", "[FpPbOY]*Qj?[FpPbOY]*c[FpPOYJ]*", "从哪里得到我的号码"),
    Sentence("dislike", "[FpPOgY]*(?:b~[RStye])+[FpPabOgYQJ]*", "又发"),
    Sentence("dislike", "[FpP]*b~[Og]+[FpP]*", "又是短信"),
    Sentence("dislike", "[FpPDabOgYGj]*[HhTMBZ][FpPDabOgYjHhTMBZGf]*", "不需要，谢谢"),
    Sentence("dislike", "[FpP]*J[FpP]*H[FpP]*", "呵呵不需要"),
    Sentence("dislike", "[^MBNZLQJj:CKWrwAEeGfIi`xn3_]*X[F]*M[pP]*", "利息高不要"),
    Sentence("dislike", "[FpPabOgYjJStyQ]*h[FpPabOgYjJhStyQ]*", "天天发烦不烦"),
    Sentence("abuse", "(?!.*X.*h.*X)[^QJj:MBNZLCKWrwAEeGfIi`x]*h[^QJj:MBNZLCKWrwAEeGfIi`x]*", "一群骗子"),
    Sentence("dislike", "[^QJj:MBLNZGfCKW3nisRDwr]*H[FpP]*", "我老太婆七十多了不借钱的"),
    Sentence("dislike", "HJ[p]*|[FpP]*H~l[FpP]*", "退订链接呢"),
    Sentence("unclear", "[pP]*7+[pP]*", "tuid"),
    Sentence("dislike", "[FpPDaQ]*[/][FpPaOgY]*;[FpP]*", "撤回授权"),
    Sentence("stop", "[FpPab]*[0][FpPab]*q[FpP]*", "给我停了"),
    Sentence("dislike", "[FpPa]*x[pP]*", "删除"),
    Sentence("unclear", "[FpP]*q[FpP]*V?[CK][pP]*", "取消TD"),
    Sentence("dislike", "[FpPDaQ]*q[FpPaOq;]*|P*qJ+|~[Ogm]+[FpP@]*q[pP]*", "取消"),
    Sentence("dislike", "~j~q[FpPaJ]*", "可以取消吗"),
    Sentence("dislike", "[τlpP]*l[FpP]*", "不了，谢谢"),
    Sentence("dislike", "~[ZH]~[SRtyve][FpPaOgY]*", "不用发了"),
    Sentence("dislike", "[^QJ:MBLNZ]*T[^QJ:MBLNZ]*", "我投诉过这家店"),
    # nothing
    Sentence("polite", "[FpPj]*", "谢谢"),
    Sentence("who", "Qp+", "谁啊"),
    # what may refuse and is not understood
    Sentence("unclear", "[FpPDVSa]*[CK][P197WVSaCK]*", "T1"),
    Sentence("unclear", "[^XGf34_s]*W[^XGf34_s]*|[^XGf3_sQJD]*r[^XGf3_sQJD]*", "退订需要"),
    Sentence("unclear", ".*M.*[SRtyvme].*", "别再给领导发"),
)
