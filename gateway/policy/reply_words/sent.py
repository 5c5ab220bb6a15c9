"""What messages are, what they sell, what is done with them, and what may go on."""

from collections.abc import Mapping

CLASSES: Mapping[str, str] = {
    # S: what senders do
    "S": """
        发 发送 传送 推送 打 打扰 骚扰 骚扰我 联系 推销 传 群发 轰炸 烦我 来烦 打搅 扰民 来打扰 来骚扰
        吵
        拨打 推荐 轰炸我 搞
        发来 发过来 打来 打过来 发给我 发我 传给我 打给我
        text texting texts_to send sending contact contacting message_me messaging call_me calling disturb
        bother spamming 通知我 通知我们 短信轰炸 电话轰炸 短信骚扰 电话骚扰
        短信催收 电话催收 整短信 整这短信 整这些短信 整广告 整这些广告 整电话 harassing bothering
        harass 乱发 瞎发 狂发 乱推 反复发 重复发 催收骚扰 推给我 推给 推过来 推了 推给我们 寄给我 传给
        做推销 搞推销 做营销 搞营销 做广告 打广告 做推广 搞推广 用于推销 用于营销 用于推广 用来推销 用来营销
        用作推销 用作营销 用于商业营销 推这种 推这些 推这类 推广告 推短信 推消息 推信息 推产品 推贷款 推保险
        推理财 推基金 推股票 推信用卡 推课程 进行营销 进行推销 进行推广 进行商业营销 开展营销
    """,
    # R: what subscribers do with it
    "R": """
        接收 收到 接到 接受 接听 看到 看见 收信息 被你们打扰 被你们骚扰 被打扰 被骚扰 受到
        receive receiving get 收广告 收短信 收消息 收邮件 收营销短信 收推销 收垃圾短信 收推广 收这种短信
        收这类短信 收这些短信 收你们的短信 收你们短信
    """,
    # O: what is sent; g: the same when it sells; Y: calls; y: to call
    "O": """
        短信 短信服务 短信业务 短讯 信息 消息 简讯 讯息 内容 通知 邮件 彩信 此信息
        message messages sms texts email emails msg msgs duanxin 短息 短新 短心 断信 短信订阅 催收短信
        催款短信 催收信息 催债短信
    """,
    "g": """
        广告 营销 推广 营销短信 营销信息 广告短信 广告信息 推广短信 推广信息 促销短信 促销 推销短信 营销类
        广告类
        营销推广 营销消息 推销的 营销的 广告的 推广的 贷款的 卖保险的 垃圾广告
        ads promotions marketing spam 推广活动 营销活动 促销活动 优惠活动 优惠信息 活动短信 优惠短信
        优惠券 推广类 推销信息 营销电话短信 推销类 商业短信 商业信息 商业广告 商业性短信 商业性信息
        商业类 商业电话短信 广告推广 推广广告 商业推广 商业营销 基金推销 信用卡推销 保险推销 贷款推销
        理财推销 advertising advertisements
    """,
    "Y": """
        电话 来电 语音 语音电话 营销电话 推销电话 calls phone_calls 催收电话 催款电话 骚扰来电 商业电话
        推广电话 广告电话 贷款电话 客服电话 机器人电话 陌生电话 推销来电 营销来电 智能语音 智能语音电话
        语音推销 ai电话 智能电话
    """,
    "y": """
        打电话 打我电话 来电话 通话 致电 call 乱打电话 瞎打电话 发语音电话 打骚扰电话 打推销电话 打营销电话
        打催收电话 换号打 换号码打 换着号打 换个号打 换着号码打 用不同号码打 用不同的号码打 用不同号码打电话
    """,
    # t: to send one; m, v: that SMS, that calls may go on
    "t": """
        发短信 发信息 发消息 发简讯 乱发短信 瞎发短信 寄广告 寄短信 寄简讯 寄讯息 寄信息
    """,
    "m": """
        发短信吧 发短信就行 发短信就好 发短信即可 只发短信 短信联系 短信通知 有事发短信 可以发短信
        有事短信 发信息就行 发信息吧 短信就行 短信就好 发信息就好 短信即可 发个短信就行 发短信就成
        有事短信就行
    """,
    "v": """
        打电话吧 打电话就行 打电话就好 打电话即可 只打电话 电话联系 有事打电话 可以打电话 电话通知 电话就行
        电话就好 电话即可 打个电话就行
    """,
    # s: service that is to go on; k: that it goes on
    "s": """
        还款提醒 还款短信 还款 账单 账单短信 验证码 余额提醒 动账提醒 动账短信 交易提醒 交易短信 提醒
        服务短信 业务通知
    """,
    "k": """
        照发 要发 照样发 照常 照常发 正常发 保留 留着 可以发 还要发 还是要发 照旧 别停 不要停 还是要 还要
        仍要 要留着 留下 保留着 还是要的 正常发送 还要的 得留着 要保留 需要保留
    """,
    # o: that and nothing else
    "o": """
        只 仅 仅仅 只是
    """,
    # G: what can be bought, borrowed or sent: 退订酒店 is none of ours
    "G": """
        贷款 借款 借钱 理财 理财产品 产品 保险 信用卡 基金 股票 存款 开户 分期 会员 套餐 流量 宽带 课程
        服务 业务 活动 催收 催款 催债 还款催收 办卡 办贷款 办信用卡 贷款业务 提额 办理贷款 分期业务 投保
        买保险 买基金 办理业务 办业务 办分期 信贷 房贷 车贷 网贷 小额贷款 什么贷款 什么保险 什么理财
        什么产品
    """,
    # f: the same, and nothing that messages are about
    "f": """
        快递 包裹 货 货物 商品 外卖 订单 杂志 报纸 牛奶 机票 车票 火车票 文件 材料 资料 合同 酒店 房间 费
        费用 钱 定金 订金 押金 单 卡
    """,
    # ;: by which they may be sent
    ";": """
        授权 许可 同意书 授权书 使用授权
    """,
    # 2: leaves out what follows
    "2": """
        除了 除 除开
    """,
}  # fmt: skip
