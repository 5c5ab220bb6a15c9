"""Who is meant, who else is spoken of, whose the number is now, and where it stands."""

from collections.abc import Mapping

CLASSES: Mapping[str, str] = {
    # I: the number is not the one who is meant
    "I": """
        打错 打错了 打错电话 打错人 发错 发错了 发错人 发错号 找错人 找错了 认错人 搞错人 弄错人 打错号码
        号码错了 号码错误 错号
        不是本人 非本人 不是机主 非机主 不是户主 机主已换 号主已换 机主不是 前任机主 不是原机主 不是前机主
        不是原来的机主
        我是他妈 我是他爸 我是他家人 我是他朋友 我是他同事 我是他老婆 我是他老公 我是她妈 我是她老公
        我是她家人 我是她朋友 不是你们要找的 不是你要找的 你要找的人不是 不是你找的
        不是你们找的 不是你说的 不是你们说的 不是那个人
        不是他的号码 不是她的号码 不是他的电话 不是她的电话 不是他电话 不是她电话 不是借款人 不是欠款人
        不是债务人
        不是这个人 不是你们客户 不是贵行客户 不认识你说的 不认识你们说的
        没有这个人 没这个人 没有此人 查无此人 无此人 没这人 没有这人 不是这人
        和他没关系 与他没关系 跟他没有关系 和他没有关系 与他无关 跟她没关系 和她没关系
        是别人的 别人的号 别人的号码 别人的手机 我刚买的 刚买的号 刚买的卡 以前的主人 之前的主人
        原来的主人 原主人 前主人 上一个机主 上个机主 上任机主 号码转让 号码已转让 号转让 转让给我 新主人
        新买的号 刚换的 刚换的卡
        新号 新号码 新办的号 新办的 刚办的号 刚办的 刚办的卡 刚换的号 新机主 新号主 新换的号 二手号
        换人 换人了 换号 换号了 换机主 机主换 机主换了 换主人 换主 易主 号主换了 原机主 前机主 原号主
        原来的机主
        不用这个号 不用这个号码 不用这号 不用此号 原来的人 之前的人 以前的人 不姓
        wrong_number wrong_no wrong_person wrong_guy not_me not_mr not_mrs not_ms not_him not_her not_his
        not_hers 不系佢 唔系佢 唔系我 唔识佢 打错咗 跟他不熟 和他不熟 dont_know_him dont_know_her
        dont_know_this_person no_such_person 上一任机主 跟他离婚 和他离婚 与他离婚 跟她离婚 和她离婚
        号码弄错 号码弄错了 号码搞错 号码搞错了 以前的号主 之前的号主 以前的机主 之前的机主
        与本人无关 changed_his_number changed_her_number
        changed_number 换手机号 换手机号了 新手机号 号码主人换了 不是我借的 不是我欠的 不是我的贷款
        不是我借 不是我欠 不是我贷的 不是我的欠款 不是我的债 钱的不是我 款的不是我 不认识此人
        不认识这个姓 不认识欠款人 不认识债务人 不认识借款人 的人我不认识 不认识机主 不认识前机主 本人已去世
        本人去世 本人已故 不是担保人 不是共借人 不是紧急联系人 揾错人 揾错咗人 后来买的 后来买的号 后来办的
        找他本人 找她本人 找他去 找她去 doesnt_use_this_number does_not_use_this_number
        no_longer_uses_this_number no_longer_his_number changed_owner just_got_this_number new_owner
        my_new_number 寻错人 寻错人了 你们去找他 你去找他 你们去找她 你去找她 你们找他 你找他 和他早就离婚
        跟他早就离婚 和他已经离婚 跟他已经离婚 我们离婚了 我们已经离婚 我俩离婚 我俩早离婚 和她早就离婚
        跟她早就离婚 和她已经离婚 跟她已经离婚
    """,
    # x: to take out; z: where one's number stands
    "x": """
        删 删掉 删去 删了 删除 移除 移出 移走 拉出 踢出 剔除 去掉 清除
    """,
    "z": """
        名单 名单里 名单中 名单内 列表 列表里 数据库 数据库里 系统里 系统中 通讯录 群发名单 营销名单
        发送名单 推送名单
    """,
    # c: got; of the subscriber's number
    "c": """
        得到 拿到 弄到 搞到 搞来 弄来 知道 来的 得来 得来的 透露 泄露
    """,
    # `: the same as I, where the clause says nothing else: 不是我的错 is another matter
    "`": """
        不是我 不是他 不是她 不认识 跟我没关系 与我无关 跟他没关系 跟我没有关系 和我没关系 和我没有关系
        与我没关系 与我没有关系
    """,
    # i: who is meant; d: what became of him
    "i": """
        机主 号主 户主 他 她 这个人 这人 该用户 原主 借款人 欠款人 债务人
    """,
    "d": """
        换了 不在这 不在这里 不在世 不在了 去世 过世 离世 死了 搬走了 早不用了

    """,
    # _: who is spoken to, or about
    "_": """
        闺女 姑娘 小伙子 同志 师傅 大姐 大哥 美女 帅哥 小妹 小哥 丫头 各位 亲爱的 小姑娘 老师 经理
        小姐姐 小兄弟 兄弟
    """,
    # 3: somebody else; a request of theirs or for them is none of the subscriber
    "3": """
        别人 有人 人家 朋友 老婆 老公 媳妇 妈 妈妈 我妈 我爸 爸 爸爸 儿子 女儿 父母 爸妈 家人 家里人 亲戚
        同事 老板
        客户 公司 单位 公司电话 朋友圈 妹 我妹 弟 哥哥 姐姐 其他人 通讯录里的人 联系人 他们 她们
    """,
    # n: tells what oneself will do, or what somebody else said
    "n": """
        我再 我会再 我还会 说 让 叫 劝 告诉 转告 告知 嘱咐 建议 写 写着 写的 写明 显示 提示 说是 问我
        上面写 上面说 里说 里写 里写着 上写 上写着 要求我
    """,
}  # fmt: skip

SURNAMES = frozenset(
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范"
    "金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵严覃武戴莫孔汤"
)
"""First characters of names, for 我不是张三; the commonest hundred but for those that begin other words."""

TITLES = ("先生", "女士", "小姐", "总", "的", "某", "某某", "本人", "这个人", "这人", "此人")
"""What follows a name."""
