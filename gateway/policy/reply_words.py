"""The words that subscribers' replies are made of, each with what it does in a sentence.

Rules of this file: words only. A new word is written below the sign of its class as `folding.folded` leaves
it (lower case, simplified script, no joiners), a blank inside it as `_`; a word has one class. What the
classes mean together is said in reply_grammar.py. Of two words that begin at the same place the longer one
counts: what must not be taken for the word that it begins with (打款, 别人) is written below X.
"""

from collections.abc import Mapping

CODES = ("r", "t", "td", "n", "0000", "退订", "退訂", "拒收")
"""Codes that senders print in their hints; a hint counts as usable when it offers one of them."""

UNKNOWN, SMALL, FIGURE = "X", "1", "9"
"""What is in no class: any other word, a number of one digit (05 as well), a longer one."""

BUSY = "4"
GOODS = "Gf"
"""Of the classes, those of what can be bought, borrowed or sent."""

CLASSES: Mapping[str, str] = {
    # C: a code that refuses only when it is the whole reply
    "C": """
        r t n 0000
    """,
    # w: a code as well, but the first half of many words
    "w": """
        退 拒
    """,
    # K: the same, but a serial number may follow (TD+序号 stops one service out of a list)
    "K": """
        td tdtd tdtdtd
    """,
    # W: a word that asks by itself for an end of it; typos by sound or by key among them
    "W": """
        退订 退定 退丁 退钉 退盯 退顶 退町 退汀 退仃 退叮 推订 推定 推丁 tui订 退ding 退d 拒首 退订信 退阅
        腿订 褪订 蜕订 颓订 退退退
        tuiding tui_ding tuidin tuidign tuidng tuding
        拒收 拒受 拒手 据收 巨收 具收 锯收 拒收短信
        jushou ju_shou
        再不停止 取消我的订阅 取消我订阅 取消短信订阅 取消短信推送 取消短信通知 取消短信服务 拒収 拒接
        拒绝接收 拒绝接受 拒绝接听 拒绝打扰 拒绝骚扰 拒绝推销
        取消订阅 取消订月 取消定阅 取消dingyue 取消接收 取消推送 取消短信 取消关注 quxiaodingyue
        qu_xiao_ding_yue
        停止发送 停止推送 停止接收 终止发送 终止接收 停发
        关闭短信 关闭推送 关闭通知 取消通知 取消营销 取消发送 屏蔽我 不再接收
        删了我 删掉我 把我删了 把我删掉 把我删除 删除我的号码 删除我号码 删除号码 号码删除 号码删了
        号码删掉 删掉我的号码 删了我的号码 我的号码删除
        删除我的手机号 删除我手机号 删除我的信息 删除我信息 删除我的资料 删除我的电话 删除我电话
        删除我的联系方式
        从名单里删除 从名单中删除 从名单删除 移出名单 移除名单 拉出名单 退出名单 退出列表 退出短信列表
        stop stopall stop_all unsubscribe unsub optout opt_out opt_me_out remove_me remove_my_number
        delete_my_number delete_me take_me_off
        no_more_messages no_more_texts no_more_sms no_more_calls leave_me_alone do_not_disturb
        删除本人号码 删除本号码 删除此号码 删除该号码 删除这个号码 把我移除 将我移除 将我删除 将我剔除
        把我剔除 把我拉出 将我移出 tuidingba tuidingle
    """,
    # r: refuses what is named
    "r": """
        拒绝 谢绝 婉拒
    """,
    # A: asks to get messages again
    "A": """
        订阅 重新订阅 恢复订阅 再次订阅 继续订阅 dingyue
        取消退订 撤销退订 撤回退订 解除退订 取消拒收 解除拒收 撤销拒收 误退订 误操作退订 退订错 退订错了
        误退 退错了
        继续接收 重新接收 恢复接收 恢复接受 恢复发送 恢复推送 同意接收 同意订阅 愿意接收 重新开通短信
        start unstop subscribe resubscribe resume optin opt_in
    """,
    # e: asks the sender to go on
    "e": """
        继续发 继续发送 继续推送 继续给我发 继续给我推送 重新给我发 重新给我发短信
    """,
    # E: only with an object, or beside what is undone, the same
    "E": """
        恢复 重新开通
    """,
    # U: what was done was not meant
    "U": """
        误 不小心 误操作 误点 误点了 误回 误回了 不小心点 不小心点了 不小心回 不小心回了 点错 点错了 按错
        按错了 手滑 错了 发错码 失误 搞错了 弄错了 回错
    """,
    # I: the number is not the one who is meant
    "I": """
        打错 打错了 打错电话 打错人 发错 发错了 发错人 发错号 找错人 找错了 认错人 搞错人 弄错人 打错号码
        号码错了 号码错误 错号
        不是本人 非本人 不是机主 非机主 不是户主 机主已换 号主已换 机主不是 前任机主 不是原机主 不是前机主
        不是原来的机主
        我是他妈 我是他爸 我是他家人 我是他朋友 我是他同事 我是他老婆 我是他老公 我是她妈 我是她老公
        我是她家人 我是她朋友 不是我 不是他 不是她 不是你们要找的 不是你要找的 你要找的人不是 不是你找的
        不是你们找的 不是你说的 不是你们说的 不是那个人
        不是他的号码 不是她的号码 不是他的电话 不是她的电话 不是他电话 不是她电话 不是借款人 不是欠款人
        不是债务人
        不是这个人 不是你们客户 不是贵行客户 不认识 不认识你说的 不认识你们说的
        没有这个人 没这个人 没有此人 查无此人 无此人 没这人 没有这人 不是这人
        跟他没关系 和他没关系 与他没关系 跟他没有关系 和他没有关系 与他无关 跟她没关系 和她没关系
        跟我没关系 与我无关
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
        号码弄错 号码弄错了 号码搞错 号码搞错了 以前的号主 之前的号主 以前的机主 之前的机主 跟我没有关系
        和我没关系 和我没有关系 与我没关系 与我没有关系 与本人无关 changed_his_number changed_her_number
        changed_number 换手机号 换手机号了 新手机号 号码主人换了
    """,
    # M: wants that something is not done
    "M": """
        别 不要 勿 请勿 莫 甭 休想 不许 唔好 不准 不得 禁止 严禁 不允许 停止 终止 不希望 不接受 不同意
        不可以
        dont do_not never no_more 别他妈 别tm 别tmd 别特么
    """,
    # B: will not do something oneself
    "B": """
        不 不再 唔 唔想 还没想 不想 不想再 不想要 不愿 不愿意 不愿再 从不 暂不 不打算 不准备 没想 没打算
        懒得
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
    # S: what senders do
    "S": """
        发 发送 传送 推送 打 打扰 骚扰 骚扰我 联系 推销 传 寄 群发 轰炸 烦我 来烦 打搅 扰民 来打扰 来骚扰
        吵
        拨打 推荐 轰炸我 搞
        发来 发过来 打来 打过来 发给我 发我 传给我 打给我
        text texting texts_to send sending contact contacting message_me messaging call_me calling disturb
        bother spamming
    """,
    # R: what subscribers do with it
    "R": """
        接收 收到 接到 接受 接听 看到 看见 收短信 收信息 被你们打扰 被你们骚扰 被打扰 被骚扰 受到 再收到
        receive receiving get
    """,
    # O: what is sent; g: the same when it sells; Y: calls; y: to call
    "O": """
        短信 短信服务 短信业务 玩意 短讯 信息 消息 简讯 讯息 内容 东西 通知 邮件 彩信 此信息
        message messages sms texts email emails msg msgs duanxin
    """,
    "g": """
        广告 营销 推广 营销短信 营销信息 广告短信 广告信息 推广短信 推广信息 促销短信 促销 推销短信 营销类
        广告类
        营销推广 营销消息 推销的 营销的 广告的 推广的 贷款的 卖保险的 垃圾广告
        ads promotions marketing spam
    """,
    "Y": """
        电话 来电 语音 语音电话 营销电话 推销电话 calls phone_calls
    """,
    "y": """
        打电话 打我电话 来电话 通话 致电 call
    """,
    # t: to send one; m, v: that SMS, that calls may go on
    "t": """
        发短信 发信息 发消息 发简讯
    """,
    "m": """
        发短信吧 发短信就行 发短信就好 发短信即可 只发短信 短信联系 短信通知 有事发短信 可以发短信
        有事短信 发信息就行 发信息吧
    """,
    "v": """
        打电话吧 打电话就行 打电话就好 打电话即可 只打电话 电话联系 有事打电话 可以打电话 电话通知
    """,
    # s: service that is to go on; k: that it goes on
    "s": """
        还款提醒 还款短信 还款 账单 账单短信 验证码 余额提醒 动账提醒 动账短信 交易提醒 交易短信 提醒
        服务短信 业务通知
    """,
    "k": """
        照发 要发 照样发 照常 照常发 正常发 保留 留着 可以发 还要发 还是要发 照旧 别停 不要停 还是要 还要
        仍要
    """,
    # o: that and nothing else
    "o": """
        只 仅 仅仅 只是
    """,
    # a: again and again
    "a": """
        再 继续 again anymore any_more 再他妈 再tm 再tmd 再特么
    """,
    # b: too often already
    "b": """
        还 还在 老 老是 总 总是 天天 每天 一直 又 不停 整天 成天 一天 一天到晚 每日 每周 又是 全是 净是
    """,
    # V: what people type before a code, copied from the hint
    "V": """
        回覆 短信回复 请回复 请回 回复 回 复 编辑 编辑短信 短信发送 reply
    """,
    # P: politeness
    "P": """
        请 好的 ok 嗯 谢谢配合 谢谢合作 谢谢理解 多谢合作 一下 下 没事 唔该 不好意思 抱歉 对不起 谢谢
        谢谢您 谢谢你
        多谢 感谢 谢了 您好 你好 麻烦 麻烦您
        麻烦你 拜托 劳驾 辛苦 辛苦了 求 求求 求求你们 求你们 求求你
        please pls plz thanks thank_you thx thankyou hi hello sir xiexie 劳烦 烦请 有劳 敬请 恳请
    """,
    # F: says nothing of its own
    "F": """
        我 我们 俺 本人 你 您 你们 您们 贵行 贵公司 银行 你行 的 地 得
        哎 唉 喂 呢呢
        给 给我 给我们 向我 跟我 对我 和我 与我 帮 帮我 帮忙 把 将 替我 为我 我的 我这 这边
        这 这个 这种 这些 这样 这样的 这类 此 此类 该 那种 那些 各种 类 类似 种 条 个 一切 任何 所有 全部
        全 都 也 就 才
        一 掉 过 已 已经 早已 早就 早 刚才 刚刚 以后 今后 往后 今天起 从今天起 从现在起 现在起 即日起
        从今以后 从 从此 永远 永久 现在 马上 立即 立刻 立马 即刻 赶紧
        赶快 快 快点
        暂时 目前 真的 真 非常 十分 太 很 特别 强烈 坚决 自己 直接 统统 通通 有 来 去 到 在 是 好 过来
        手机 号码 号
        里 上 时候 中 往 朝 明确 再次 再也 再三 我再次 我再也 我再三 老子 本 一律 和 跟 与 及 或 刚 敢 收
        说了 说过 都说了 说好 告诉你
        告诉你们 警告 警告你 警告你们 跟你们说过 跟你说过 如果 要是 下次 多少遍 多少次 会 给予 几遍 信不信
        信不信我
        好多次 多次 好几次 几次 很多次 两次 三次 上次就 上次都 上次已经 到底 究竟 的话 即可 凌晨 晚上 半夜
        大半夜 深夜 周末 中午 早上 白天 节假日 上班时间 休息时间 其他 其它 几条 几个 你们公司 你公司 贵司
        你哋 啲 嚟 俾 畀
        业务员 客服 们 那 并 且 而且 因为
        me my us it this these that the to your you from number phone list i want would like now and any
        什么都 啥都 机器人 用 n次 n遍 n多次 了解 尽快 速速
    """,
    # p: the same, at the end of a sentence; may stand behind a code
    "p": """
        了 吧 啊 呀 嘛 哈 哦 噢 啦 喔 咯 咗 喇 嘞 le la ba
    """,
    # D: wants
    "D": """
        要 选择 决定 坚持 强制 想 想要 愿意 同意 确认 确定 申请 需要 希望 要求 必须 i_want
    """,
    # Q: asks; J: asks whether, or jests; j: asks politely
    "Q": """
        怎么 怎么弄 怎么办 怎么操作 怎么做 怎么搞 怎样 怎么样 咋 咋样 如何 为什么 为啥 为何 干嘛 干吗
        干什么 干啥 什么 啥 哪 哪里 哪儿 哪个 何 何时 什么时候 什么意思 啥意思 多少 几 谁 方式 方法 办法
        途径
        how what why which when where who
    """,
    "J": """
        吗 么 呢 是否 是不是 要不要 想不想 愿不愿意 同不同意 需不需要 收不收 发不发 打不打 有没有 成功
        有用 管用 有效
        does 生效 haha hahaha lol kidding
    """,
    "j": """
        好吗 行吗 行不行 好不好 可以吗 可不可以 能不能 能否 可否 能 可以 请问 成不 can could can_you
        could_you
    """,
    # h: abuse and dislike; H: a no that says not to what, and cut codes
    "h": """
        听到没 听到没有 听见没 听见没有 闭嘴 消停 消停点 有意思吗 有意思么 有意思没 莫名其妙 谁给你
        谁给你们 谁泄露 滚 滚远 骚扰信息 滚蛋 滚开 滚远点 烦 烦死 烦死了 烦人 烦不烦
        讨厌 恶心 傻逼 傻b sb 神经病 有病
        脑子有病 有毛病
        去死 去你妈
        骗子 骗人 诈骗 垃圾 垃圾短信 垃圾信息 骚扰短信 骚扰电话 诈骗短信 垃圾公司 垃圾银行 有完没完
        没完没了 没完了 够了 受够了 什么玩意 什么垃圾 无聊 无语 又来了 又来 还来
        烦死人 真烦 真烦人 滚出去 滚粗 滚犊子 神经 什么鬼 操 草 操你妈 草你妈 你妈的 你妈 cnm nmsl tmd
        妈的 他妈的 tm 特么 煞笔 沙比 傻叉 脑残 智障
        畜生 王八蛋 混蛋 流氓 死骗子 骗子公司 无耻 不要脸 缺德 过分 太过分 太过分了 闲的 闲得 吃饱了撑的
        去你的 fuck fuck_off fuck_you fuck_u asshole idiot annoying
        怎么知道我的号码 怎么知道我号码 怎么有我的号码 怎么有我号码 怎么有我的电话 哪来的我的号码
        哪来我的电话 会有我的号码 会有我的电话 有我的号码
        为什么给我发 为啥给我发 为何给我发 为什么给我打 为什么发给我 干嘛给我发 怎么又是 又是你们
        谁让你们发的 谁让你发的 谁允许你们发的 🚫 👎 ❌ ❎ 🙅 🖕 😡 🤬 💩 😠 ✋ ⛔ 🛑 🤮 💢 🔕 傻x 凭什么
        滚一边 滚一边去 滚远些 烦躁
    """,
    "H": """
        不需要 没这个需要 没有这个需要 没兴趣 不感兴趣 没有兴趣 无兴趣 不想办 不想贷 不想贷款 不想借
        不想买 不想办理 没空 算了
        算了吧 罢了 没需求 没有需求 没需要 没有需要 无需求 不考虑 暂不考虑 暂不需要 暂时不用 没这个需求
        没这需求 没有这个需求 没有贷款需求 没贷款需求 无贷款需求 不办 不办理 不贷 不贷款 不借 不借钱 不买
        不买了 不约 不参加
        退订电话 退订的电话 退订热线 退订号码 退订手机 退订手机号 no nope not_interested no_need 不想了解
        免了 不感冒 没意思 没有意向 没意向 无意向
    """,
    # 7: a code that is cut or not one that anybody prints
    "7": """
        tui tuid tuidi ding ju juj jus jush jusho juhsou jsuhou jushu jushuo tudin
        d x q tdx qx 0 00 000 00000 000000 0000000 00000000 ® tu
    """,
    # q: an end of what?
    "q": """
        取消 关闭 关掉 停掉 关了 quxiao qu_xiao cancel quit end 停 结束
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
    # i: who is meant; d: what became of him
    "i": """
        机主 号主 户主 他 她 这个人 这人 该用户 原主
    """,
    "d": """
        换了 不在这 不在这里 不在世 不在了 去世 过世 离世 死了 搬走了 早不用了
    """,
    # T: what one does about it
    "T": """
        告 投诉 投诉你 投诉你们 举报 举报你 举报你们 报警 报警了
        拉黑 黑名单 加入黑名单 拉进黑名单 拉黑你 拉黑你们 已拉黑 屏蔽 起诉 起诉你们 告你 告你们 曝光
        侵犯隐私 泄露隐私 泄露信息 侵权 违法
    """,
    # u: where
    "u": """
        12321 12315 12378 12345 工信部 银保监 银保监会 银监会 金融监管局 消协 通信管理局 通管局 人民银行
        人行 央行 12363 110 黑猫
    """,
    # G: what can be bought, borrowed or sent: 退订酒店 is none of ours
    "G": """
        贷款 借款 借钱 理财 理财产品 产品 保险 信用卡 基金 股票 存款 开户 分期 会员 套餐 流量 宽带 课程
        服务 业务 活动
    """,
    # f: the same, and nothing that messages are about
    "f": """
        快递 包裹 货 货物 商品 外卖 订单 杂志 报纸 牛奶 机票 车票 火车票 文件 材料 资料 合同 酒店 房间 费
        费用 钱 定金 订金 押金 单 卡
    """,
    # 3: somebody else; a request of theirs or for them is none of the subscriber
    "3": """
        别人 有人 人家 朋友 老婆 老公 媳妇 妈 妈妈 我妈 我爸 爸 爸爸 儿子 女儿 父母 爸妈 家人 家里人 亲戚
        同事 老板
        客户 公司 单位 公司电话 朋友圈 妹 我妹 弟 哥哥 姐姐 其他人 通讯录里的人 联系人 他们 她们
    """,
    # 2: leaves out what follows
    "2": """
        除了 除 除开
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
    # n: tells what oneself will do, or what somebody else said
    "n": """
        我再 我会再 我还会 说 让 叫 劝 告诉 转告 告知 嘱咐 建议
    """,
    # X: known, and nothing here
    "X": """
        不还 不想还 还不 还不起 还不上 没还 还没还
        退款 退货 退钱 退还 退保 退卡 退票 退税 退单 退费 退休 退出 退役 退换 退回 退一下 退款单 退房 退学
        退烧
        莫非 莫怪 莫急 莫得 订阅号 打过去 发财 恢复了 别搞笑 别逗 别闹 但愿 不要忘 不要忘了 不要忘记 打款
        打折 打卡 打包 打车 打印 打开 发货 发票 发放 发工资 发薪 发钱 发卡 传真 收货
        别的 别处 别家 级别 性别 区别 个别 分别 别墅 别忘 别忘了 别忘记 别急 别担心 别客气 别介意
        别误会 别着急 别挂
        要不 不得不 不能不 不如 不但 不仅 不只 不光 不止 不管 不论 不料
        不在 不好 不行 不会 不到 不一定 不可能 不知道 不清楚 不方便 不急 不错 不一样 不对 不同 不便 不够
        我发错 我发错了 我打错 我打错了 一次 一遍 一条 一份 下午 下周 下月 上午 上班 上次 好了 再说 再看
        忘记 忘了
        不认识你 不认识你们 不认识您 收费 收钱 收款 收益 打草 不是我不 不认识字 恢复号 恢复号码 恢复手机
        发火 发牢骚 发呆 发疯 发脾气 发愁 发现 发生 发言 发誓 发烧 发挥 发展 打架 打工 打球 打赌 打断 打听
        打人 打交道 传说 传染 打错字 发错图 发错卡号 发错卡 发错文件 订阅了
    """,
}  # fmt: skip

SURNAMES = frozenset(
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范"
    "金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵严覃武戴莫孔汤"
)
"""First characters of names, for 我不是张三; the commonest hundred but for those that begin other words."""

TITLES = ("先生", "女士", "小姐", "总", "的", "某", "某某", "本人", "这个人", "这人", "此人")
"""What follows a name."""
