"""What makes a sentence of the rest: no, questions, politeness, time, fillers."""

from collections.abc import Mapping

CLASSES: Mapping[str, str] = {
    # M: wants that something is not done
    "M": """
        别 不要 勿 请勿 莫 甭 休想 不许 唔好 不准 禁止 严禁 不允许 停止 终止 不希望 不接受 不同意
        dont do_not never no_more 别他妈 别tm 别tmd 别特么 不可以再 不能再 不得再 不得向 不得给 不得以
        切勿 切莫 且莫 莫要 勿要 不该再
    """,
    # !: does not want; B: does not do something oneself
    "!": """
        不想 不想再 不想要 不愿 不愿意 不愿再 唔想 不打算 不准备 没想 没打算 懒得 还没想 不乐意 不情愿
        没想过 不想再要 再也不想 再也不愿
    """,
    "B": """
        不 不再 唔 从不 暂不
    """,
    # Z: says that there is no need
    "Z": """
        不用 唔使 唔需要 无需 不必 用不着 毋需 无须 先不 先别
    """,
    # L: has not done it, or has not got it
    "L": """
        没点 没按 没点过 没按过 没操作 没有点 没有操作 没 没有 未 从未 从没 从来没 并没有 并未 还没 尚未
    """,
    # N: did not say so
    "N": """
        没说 没说过 没有说 没说要 不是 不是要 不是我要 不是我说 不是说 并非 并不是 谁说 又没说 没要 没有要
        谁要 千万别
    """,
    # l: is not able to
    "l": """
        没用 没有用 不管用 没效 没效果 无效 不能 无法 不让 不给 不了 不掉 不成 不成功 没成功 没反应 还不能
        还不给 还不让
        没有反应 不生效 失败
    """,
    # a: again and again
    "a": """
        再 继续 again anymore any_more 再他妈 再tm 再tmd 再特么 重新
    """,
    # b: too often already
    "b": """
        还 还在 老 老是 总 总是 天天 每天 一直 又 不停 整天 成天 一天 一天到晚 每日 每周 又是 全是 净是
    """,
    # P: politeness
    "P": """
        请 好的 ok 嗯 谢谢配合 谢谢合作 谢谢理解 多谢合作 一下 下 没事 唔该 不好意思 抱歉 对不起 谢谢
        谢谢您 谢谢你
        多谢 感谢 谢了 您好 你好 麻烦 麻烦您
        麻烦你 拜托 劳驾 辛苦 辛苦了 求 求求 求求你们 求你们 求求你
        please pls plz thanks thank_you thx thankyou hi hello sir 劳烦 烦请 有劳 敬请 恳请
        亲
    """,
    # F: says nothing of its own; in sentences F stands for the seven below too
    # 6: to whom it is said; 0: to do it for me; 8: if; @: how many of them; #: from now on; <: once
    # τ: for a while
    "6": """
        你 您 你们 您们 你哋 贵行 贵公司 银行 你行 你们公司 你公司 贵司 你他妈 你们他妈 你他妈的
        你们他妈的 你tm 你们tm 你tmd 你特么 你们特么
    """,
    "0": """
        给我 给我们 帮 帮我 帮忙 把 将 替我 为我 替 替我把 帮我把 给我把 麻烦把
    """,
    "8": """
        如果 要是 下次 会 的话 假如 假使 若 若是 倘若 万一 除非 下回 以后再 将会 就会
    """,
    "@": """
        一切 任何 所有 全部 全 都 统统 通通 一律 全都 所有的 全部的 任何形式的 任何形式 各种形式的
        一切形式的 各种形式 一切形式 任何方式的 任何方式 所有形式的
    """,
    "τ": """
        现在 目前 暂时 今天 今晚
        明天 这会 这会儿 此刻
    """,
    "<": """
        之前 以前 上次 上个月 上月 昨天 前天 前几天 前两天 前段时间 前阵子 去年 当时 早前 先前 上周
        上星期 刚才 刚刚
    """,
    "#": """
        以后 今后 往后 今天起 从今天起 从现在起 现在起 即日起 从今以后 从此 永远 永久 以后都 日后
        从此以后 从今往后
    """,
    "F": """
        我 我们 俺 本人 的 地 得
        哎 唉 喂 呢呢
        给 向我 跟我 对我 和我 与我 我的 我这 这边
        这 这个 这种 这些 这样 这样的 这类 此 此类 该 那种 那些 各种 类 类似 种 条 个
        也 就 才
        一 掉 过 已 已经 早已 早就 早
        从 马上 立即 立刻 立马 即刻 赶紧
        赶快 快 快点
        真的 真 非常 十分 太 很 特别 强烈 坚决 自己 直接 有 来 去 到 在 是 好 过来
        手机 号码 号
        里 上 时候 中 往 朝 明确 再次 再也 再三 我再次 我再也 我再三 老子 本 和 跟 与 及 或 刚 敢 收
        说了 说过 都说了 说好 告诉你
        告诉你们 警告 警告你 警告你们 跟你们说过 跟你说过 多少遍 多少次 给予 几遍 信不信
        信不信我
        好多次 多次 好几次 几次 很多次 两次 三次 上次就 上次都 上次已经 到底 究竟 即可
        其他 其它 几条 几个
        啲 嚟 俾 畀
        业务员 客服 们 那 并 且 而且 因为
        me my us it this these that the to your you from number phone list i want would like now and any
        什么都 啥都 机器人 用 n次 n遍 n多次 了解 尽快 速速 东西 玩意 玩意儿 对 和我家人 和我的家人
        和家人 及家人 及我的家人 和我家里人 和我老婆 和我老公 跟我家人 和我父母 和我爸妈 和我的父母
        和我的朋友 和我朋友 和我的同事 和我同事 跟我的家人 以及我的家人 以及家人 向 do is are was
        do_i i_am im ill ive 你们的客户 你们客户 贵行客户 贵行的客户 你行客户 你们银行的客户 方面 方面的
        真他妈 太他妈 真tm 真特么 凌晨 晚上 半夜 大半夜 深夜 周末 中午 早上 白天 节假日 上班时间
        休息时间 早晨 清晨 下班后 工作时间 午休 午休时间
    """,
    # p: the same, at the end of a sentence; may stand behind a code
    "p": """
        了 吧 啊 呀 嘛 哈 哦 噢 啦 喔 咯 咗 喇 嘞 le la ba 呗 咧 哩 呐 唻 罗 啰 嗷 捏 哟 呦 哇 欸 诶 鸭
        嘿
    """,
    # D: wants
    "D": """
        要 选择 决定 坚持 强制 想 想要 愿意 同意 确认 确定 申请 需要 希望 要求 必须 i_want
    """,
    # Q: asks; J: asks whether, or jests; j: asks politely
    "Q": """
        怎么 怎么弄 怎么办 怎么操作 怎么做 怎么搞 怎样 怎么样 咋 咋样 如何 为什么 为啥 为何 干嘛 干吗
        干什么 干啥 什么 啥 哪 哪里 哪儿 哪个 何 何时 什么时候 多少 几 谁 方式 方法 办法
        途径
        how what why which when where who 啷个 啷个办 咋个 咋整 咋办 咋弄 咋搞 点样 点解 边度 边个 哪能
        哪样 啥子 为啥子 做咩 咩 几时 啥时候 么子 啥办法 点先 何解 哪块 哪个字母 什么字母 什么代码
        哪个数字 什么指令 啥字母 什么数字 哪个代码 什么码 啥代码
    """,
    # :: asks what it means
    ":": """
        什么意思 啥意思 什么含义 啥含义 何意 什么意义 几个意思 咩意思 乜意思
    """,
    "J": """
        吗 么 呢 是否 是不是 要不要 想不想 愿不愿意 同不同意 需不需要 收不收 发不发 打不打 有没有 成功
        有用 管用 有效
        does 生效 haha hahaha lol kidding 想要不要 要不要再 呵呵 嘻嘻 逗你玩 开玩笑 是诈骗吗 是骗子吗
        诈骗吗 骗子吗 骗人的吗 骗人吗 是不是诈骗 是不是骗子 是不是骗人 诈骗短信吗 骗局吗
    """,
    "j": """
        好吗 行吗 行不行 好不好 可以吗 可不可以 能不能 能否 可否 能 可以 请问 成不 can could can_you
        could_you 想问 问一下 想问一下 问下 请教 请教一下 咨询一下 咨询 想请问 想问问
    """,
    # 5: wants to be left alone
    "5": """
        勿扰 请勿打扰 勿打扰 免打扰
    """,
    # 4: is busy now; 开车中勿扰 is no more than that
    "4": """
        开会 会议 开车 驾驶 上课 睡觉 休息 忙 在忙 飞行
    """,
    # ,: begins a clause of its own
    ",": """
        但是 但 可是 不过 然后 然而 不然 否则 要不然
    """,
}  # fmt: skip
