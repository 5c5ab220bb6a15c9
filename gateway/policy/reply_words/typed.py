"""Words as hurried thumbs leave them: the wrong character of the same sound, and Latin letters.

Rules of this file: `SOUNDS` holds for each word what is typed for it, for each place characters and then
pinyin; a word of it counts where a clause begins or behind one of `BEFORE`, and not before `AFTER`, so that
收据收到 and 去消费 stay what they are. `SPELLED` holds words in pinyin, with the slips of it that are met; a
text counts as pinyin when all Latin letters of it are made of these.
"""

from collections.abc import Mapping

SOUNDS: Mapping[str, tuple[str, ...]] = {
    "取消订阅": ("取去曲趣娶 qu", "消销肖削逍宵 xiao", "订定丁钉盯叮 ding", "阅月越悦 yue"),
    "取消退订": ("取去曲趣娶 qu", "消销肖削逍宵 xiao", "退推腿褪蜕颓 tui", "订定丁钉盯叮顶 ding"),
    "取消短信": ("取去曲趣娶 qu", "消销肖削逍宵 xiao", "短 duan", "信性兴 xin"),
    "取消": ("取去曲趣娶 qu", "销肖削逍宵 xiao"),
    "退订": ("退推腿褪蜕颓煺 tui", "订定丁钉盯顶町汀仃叮锭 ding"),
    "拒收": ("拒据巨具锯距炬聚俱句剧 ju", "收受手首守 shou"),
    "拒绝": ("拒据巨具锯距炬聚俱 ju", "绝决觉 jue"),
    "打错": ("打大达搭 da", "错措搓 cuo"),
    "停止": ("停挺 ting", "止只之指 zhi"),
}

BEFORE = "好嗯您我要请想回复给你烦都全求就再订消快帮么何样能以不没别"
AFTER = "特费金毒防化息失遣单房货款税"

SPELLED: Mapping[str, str] = {
    spelled: word
    for word, all_spelled in {
        "退订": "tuiding tuidin tuidign tuidng tuding tuidding tuidingg tuiiding tuideng tiuding "
        "utiding tuiidng tuidnig tudiing tuuiding tuidinng",
        "拒收": "jushou jshou jvshou",
        "取消": "quxiao",
        "订阅": "dingyue",
        "恢复": "huifu",
        "不要": "buyao byao",
        "别": "bie",
        "勿": "wu",
        "请": "qing",
        "再": "zai",
        "发": "fa fasong",
        "打": "da",
        "打电话": "dadianhua",
        "电话": "dianhua",
        "短信": "duanxin duanxing",
        "信息": "xinxi",
        "消息": "xiaoxi",
        "广告": "guanggao",
        "给": "gei",
        "我": "wo",
        "我们": "women",
        "你": "ni nin",
        "你们": "nimen",
        "他": "ta",
        "了": "le",
        "吧": "ba",
        "啊": "a ya",
        "啦": "la",
        "吗": "ma",
        "的": "de",
        "好": "hao",
        "要": "yao",
        "想": "xiang",
        "不": "bu",
        "不想": "buxiang",
        "不需要": "buxuyao",
        "不用": "buyong",
        "没有": "meiyou",
        "不是": "bushi",
        "是": "shi",
        "收到": "shoudao",
        "接收": "jieshou",
        "停止": "tingzhi",
        "推送": "tuisong",
        "骚扰": "saorao",
        "打扰": "darao",
        "联系": "lianxi",
        "拒绝": "jujue",
        "谢谢": "xiexie",
        "麻烦": "mafan",
        "你好": "nihao",
        "一下": "yixia",
        "以后": "yihou",
        "怎么": "zenme",
        "什么": "shenme",
        "为什么": "weishenme",
        "投诉": "tousu",
        "举报": "jubao",
        "滚": "gun",
        "打错": "dacuo",
        "找错人": "zhaocuoren zhaocuo",
        "认错人": "rencuoren",
        "不认识": "burenshi",
        "发错": "facuo",
        "号码": "haoma",
        "新号": "xinhao",
        "换号": "huanhao",
        "继续": "jixu",
        "重新": "chongxin",
        "删除": "shanchu",
        "贷款": "daikuan",
        "理财": "licai",
        "回": "hui",
        "帮我": "bangwo",
    }.items()
    for spelled in all_spelled.split()
}
